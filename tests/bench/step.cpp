// What a training step of GPT-2 small costs on this machine's CPU, against the ceiling that oneDNN's sgemm sets for the
// model's own products: step [--threads N] [--steps N] [--batch B] [--context T] [--no-ops].
//
// Steps and the products are interleaved in one run; medians. The step is the whole of it: forward, loss, backward,
// norm, clip, AdamW. Its FLOPs are those of others' figures (attention as a full square: 788 GFLOP at B=4, T=256),
// although causal attention does half.
#include <dnnl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <random>
#include <vector>

#include "models/registry.h"
#include "runtime/base/clock.h"
#include "runtime/train/dry_run.h"

extern "C" void omp_set_num_threads(int);

using namespace ddp;

namespace {

struct Options {
  int threads = 2, steps = 7;
  int64_t batch = 4, context = 256;
  bool by_op = true;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Records an event before and after each op.
class OpTimer final : public OpObserver {
 public:
  explicit OpTimer(Device& device) : device_(device) {}
  void before(const OpInfo& info, Stream& stream) override { record(info, stream); }
  void after(const OpInfo& info, Stream& stream) override { record(info, stream); }
  void start() { used_ = 0, infos_.clear(); }

  struct Cost {
    int64_t calls = 0, flops = 0, bytes = 0;
    double ms = 0;
  };
  std::map<std::string, Cost> costs() const {
    std::map<std::string, Cost> result;
    for (size_t i = 0; i + 1 < used_; i += 2) {
      Cost& c = result[infos_[i].name];
      ++c.calls, c.flops += infos_[i].flops, c.bytes += infos_[i].bytes;
      c.ms += events_[i + 1].ms_since(events_[i]);
    }
    return result;
  }

 private:
  void record(const OpInfo& info, Stream& stream) {
    if (stream.role() != StreamRole::compute) return;
    if (used_ == events_.size()) events_.emplace_back(device_);
    events_[used_++].record(stream);
    infos_.push_back(info);
  }
  Device& device_;
  std::deque<Event> events_;
  std::vector<OpInfo> infos_;
  size_t used_ = 0;
};

// One product of the model: C (m,n) = A B with `count` calls a step.
struct Product {
  int64_t m, n, k;
  char a, b;  // 'N' or 'T'
  int64_t count;
  double flops() const { return 2.0 * double(m) * double(n) * double(k) * double(count); }
};

std::vector<Product> products(const ModelConfig& c, int64_t rows, int64_t padded_vocab) {
  std::vector<Product> all;
  const auto linear = [&](int64_t in, int64_t out, int64_t count) {
    all.push_back({rows, out, in, 'N', 'N', count});  // forward
    all.push_back({rows, in, out, 'N', 'T', count});  // data gradient
    all.push_back({in, out, rows, 'T', 'N', count});  // weight gradient
  };
  linear(c.width, 3 * c.width, c.layers);
  linear(c.width, c.width, c.layers);
  linear(c.width, 4 * c.width, c.layers);
  linear(4 * c.width, c.width, c.layers);
  all.push_back({rows, padded_vocab, c.width, 'N', 'T', 1});
  all.push_back({rows, c.width, padded_vocab, 'N', 'N', 1});
  all.push_back({padded_vocab, c.width, rows, 'T', 'N', 1});
  return all;
}

// Milliseconds of all products of a step by oneDNN's own threading, each timed once and multiplied by its count.
class Ceiling {
 public:
  Ceiling(std::vector<Product> products, int threads) : products_(std::move(products)), threads_(threads) {
    int64_t a = 0, b = 0, c = 0;
    for (const Product& p : products_)
      a = std::max(a, p.m * p.k), b = std::max(b, p.k * p.n), c = std::max(c, p.m * p.n);
    a_.resize(size_t(a), 0.5f), b_.resize(size_t(b), 0.25f), c_.resize(size_t(c));
  }
  double flops() const {
    double sum = 0;
    for (const Product& p : products_) sum += p.flops();
    return sum;
  }
  double run_ms() {
    omp_set_num_threads(threads_);
    double ms = 0;
    for (const Product& p : products_) {
      const int64_t lda = p.a == 'N' ? p.k : p.m, ldb = p.b == 'N' ? p.n : p.k;
      const int64_t begin = monotonic_ns();
      if (dnnl_sgemm(p.a, p.b, p.m, p.n, p.k, 1.0f, a_.data(), lda, b_.data(), ldb, 0.0f, c_.data(), p.n) !=
          dnnl_success)
        std::abort();
      ms += ms_between(begin, monotonic_ns()) * double(p.count);
    }
    return ms;
  }

 private:
  std::vector<Product> products_;
  int threads_;
  std::vector<float> a_, b_, c_;
};

Options parse(int argc, char** argv) {
  Options o;
  for (int i = 1; i < argc; ++i) {
    const auto value = [&] { return i + 1 < argc ? std::atoi(argv[++i]) : 0; };
    if (!std::strcmp(argv[i], "--threads"))
      o.threads = value();
    else if (!std::strcmp(argv[i], "--steps"))
      o.steps = value();
    else if (!std::strcmp(argv[i], "--batch"))
      o.batch = value();
    else if (!std::strcmp(argv[i], "--context"))
      o.context = value();
    else if (!std::strcmp(argv[i], "--no-ops"))
      o.by_op = false;
    else {
      fmt::print(stderr, "usage: step [--threads N] [--steps N] [--batch B] [--context T] [--no-ops]\n");
      std::exit(64);
    }
  }
  return o;
}

void print_ops(const std::map<std::string, OpTimer::Cost>& costs, double step_ms) {
  std::vector<std::pair<std::string, OpTimer::Cost>> ops(costs.begin(), costs.end());
  std::sort(ops.begin(), ops.end(), [](const auto& a, const auto& b) { return a.second.ms > b.second.ms; });
  fmt::print("\n{:<24} {:>6} {:>9} {:>7} {:>9} {:>8}\n", "op (one step, timed)", "calls", "ms", "%", "GFLOP/s", "GB/s");
  for (const auto& [name, c] : ops)
    fmt::print("{:<24} {:>6} {:>9.2f} {:>6.1f}% {:>9.1f} {:>8.1f}\n", name, c.calls, c.ms, 100 * c.ms / step_ms,
               double(c.flops) / c.ms * 1e-6, double(c.bytes) / c.ms * 1e-6);
}

}  // namespace

int main(int argc, char** argv) {
  const Options o = parse(argc, argv);
  Config config;
  config.model.context = o.context;
  config.train.micro_batch = config.train.global_batch = o.batch;
  const std::unique_ptr<Model> model = make_model(config);
  const DryRun plan = dry_run(config, 1, *model);
  const auto device = make_cpu_device({.num_threads = o.threads, .pin_threads = true});
  const auto comm = make_solo_comm(*device);
  Buffer<std::byte> memory(*device, plan.arena.arena_bytes);
  Arena arena(plan.arena, memory.data());
  OpTimer timer(*device);
  TrainStep step({.config = config,
                  .ranks = 1,
                  .device = *device,
                  .table = cpu_op_table(),
                  .comm = *comm,
                  .model = *model,
                  .observer = o.by_op ? &timer : nullptr},
                 arena);
  step.drain();
  model->init({step.params().as<float>(), size_t(step.params().numel())}, 1);
  HostBatch batch(o.batch, o.context);
  std::mt19937 random(1);
  for (size_t i = 0; i < batch.tokens.size(); ++i) {
    batch.tokens[i] = int32_t(random() % uint64_t(config.model.vocab));
    batch.targets[i] = int32_t(random() % uint64_t(config.model.vocab));
  }

  const int64_t rows = o.batch * o.context, padded_vocab = model->layout().params().back().shape[0];
  Ceiling ceiling(products(config.model, rows, padded_vocab), o.threads);
  const double square =
      12.0 * double(config.model.layers * config.model.width) * double(o.batch * o.context * o.context);
  const double step_flops = ceiling.flops() + square;

  std::vector<double> step_ms, ceiling_ms;
  for (int i = 1; i <= o.steps + 1; ++i) {
    timer.start();
    const int64_t begin = monotonic_ns();
    step.enqueue(i, [&]() -> const HostBatch& { return batch; }, {});
    step.drain();
    const double ms = ms_between(begin, monotonic_ns());
    const double limit = ceiling.run_ms();
    ::usleep(30'000);      // OpenMP's threads spin for a while; ours must not pay for it
    if (i == 1) continue;  // warm-up
    step_ms.push_back(ms);
    ceiling_ms.push_back(limit);
    fmt::print("step {}: {:.0f} ms, products {:.0f} ms, loss {:.4f}\n", i, ms, limit,
               step.metrics().slot(i).host.data()->loss_sum / double(rows));
  }
  const double rate = step_flops / median(step_ms) * 1e-6, limit = ceiling.flops() / median(ceiling_ms) * 1e-6;
  fmt::print("\nGPT-2 small, B={}, T={}, fp32, {} threads: {:.0f} GFLOP in {:.0f} ms = {:.0f} GFLOP/s\n", o.batch,
             o.context, o.threads, step_flops * 1e-9, median(step_ms), rate);
  fmt::print("oneDNN sgemm of its products, FLOP-weighted:      {:.0f} GFLOP/s\n", limit);
  fmt::print("ratio {:.1f}% (goal: at least 80%)\n", 100 * rate / limit);
  if (o.by_op) print_ops(timer.costs(), step_ms.back());
}
