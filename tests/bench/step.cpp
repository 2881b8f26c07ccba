// What a training step of GPT-2 small costs on this machine's CPU, against the ceiling that oneDNN sets for the model's
// own products in the same type: step [--precision fp32|bf16|fp16] [--threads N] [--steps N] [--batch B] [--context T]
// [--no-ops]. With 16 bits an fp32 step is measured beside it.
//
// Steps and the products are interleaved in one run; medians. The step is the whole of it: forward, loss, backward,
// norm, clip, AdamW. Its FLOPs are those of others' figures (attention as a full square: 788 GFLOP at B=4, T=256),
// although causal attention does half.
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <optional>
#include <random>
#include <vector>

#include "models/registry.h"
#include "runtime/base/clock.h"
#include "runtime/train/dry_run.h"
#include "tests/bench/gemm_ceiling.h"

using namespace ddp;

namespace {

struct Options {
  std::string precision = "fp32";
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

void print_ops(const std::map<std::string, OpTimer::Cost>& costs, double step_ms) {
  std::vector<std::pair<std::string, OpTimer::Cost>> ops(costs.begin(), costs.end());
  std::sort(ops.begin(), ops.end(), [](const auto& a, const auto& b) { return a.second.ms > b.second.ms; });
  fmt::print("\n{:<24} {:>6} {:>9} {:>7} {:>9} {:>8}\n", "op (one step, timed)", "calls", "ms", "%", "GFLOP/s", "GB/s");
  for (const auto& [name, c] : ops)
    fmt::print("{:<24} {:>6} {:>9.2f} {:>6.1f}% {:>9.1f} {:>8.1f}\n", name, c.calls, c.ms, 100 * c.ms / step_ms,
               double(c.flops) / c.ms * 1e-6, double(c.bytes) / c.ms * 1e-6);
}

// GPT-2 small in one precision, beside the ceiling of its products.
class Bench {
 public:
  Bench(const Options& o, const std::string& precision)
      : precision_(precision),
        config_(make_config(o, precision)),
        model_(make_model(config_)),
        plan_(dry_run(config_, 1, *model_)),
        device_(make_cpu_device({.num_threads = o.threads, .pin_threads = true})),
        comm_(make_solo_comm(*device_)),
        memory_(*device_, plan_.arena.arena_bytes),
        arena_(plan_.arena, memory_.data()),
        timer_(*device_),
        step_({.config = config_,
               .ranks = 1,
               .device = *device_,
               .table = cpu_op_table(),
               .comm = *comm_,
               .model = *model_,
               .observer = o.by_op ? &timer_ : nullptr},
              arena_),
        batch_(o.batch, o.context),
        ceiling_(precision == "bf16" ? DType::bf16 : DType::f32, config_.model, o.batch * o.context,
                 model_->layout().params().back().shape[0], o.threads),
        tokens_(double(o.batch * o.context)),
        square_flops_(12.0 * double(config_.model.layers * config_.model.width) * tokens_ * double(o.context)) {
    step_.drain();
    ThreadPool pool({.num_threads = o.threads});
    model_->init({step_.params().as<float>(), size_t(step_.params().numel())}, 1, pool);
    step_.round_params();
    std::mt19937 random(1);
    for (size_t i = 0; i < batch_.tokens.size(); ++i) {
      batch_.tokens[i] = int32_t(random() % uint64_t(config_.model.vocab));
      batch_.targets[i] = int32_t(random() % uint64_t(config_.model.vocab));
    }
  }

  // Step i, from 1, then the products; the first is a warm-up.
  void run(int i) {
    timer_.start();
    const int64_t begin = monotonic_ns();
    step_.enqueue(i, [&]() -> const HostBatch& { return batch_; }, {});
    step_.drain();
    const double ms = ms_between(begin, monotonic_ns());
    const double limit = ceiling_.run_ms();
    ::usleep(30'000);  // OpenMP's threads spin for a while; ours must not pay for it
    if (i == 1) return;
    step_ms_.push_back(ms);
    ceiling_ms_.push_back(limit);
    fmt::print("{} step {}: {:.0f} ms, products {:.0f} ms, loss {:.4f}\n", precision_, i, ms, limit,
               step_.metrics().slot(i).host.data()->loss_sum / tokens_);
  }

  double step_ms() const { return median(step_ms_); }

  void print(const Options& o) const {
    const double flops = ceiling_.flops() + square_flops_, rate = flops / step_ms() * 1e-6,
                 limit = ceiling_.flops() / median(ceiling_ms_) * 1e-6;
    const bool is_bf16 = precision_ == "bf16";
    fmt::print("\nGPT-2 small, B={}, T={}, {}, {} threads: {:.0f} GFLOP in {:.0f} ms = {:.0f} GFLOP/s\n", o.batch,
               o.context, precision_, o.threads, flops * 1e-9, step_ms(), rate);
    fmt::print("oneDNN {} of its products, FLOP-weighted: {:.0f} GFLOP/s\n", is_bf16 ? "bf16 matmul" : "sgemm", limit);
    fmt::print("ratio {:.1f}% (goal: at least {}%)\n", 100 * rate / limit, is_bf16 ? 70 : 80);
    if (o.by_op) print_ops(timer_.costs(), step_ms_.back());
  }

 private:
  static Config make_config(const Options& o, const std::string& precision) {
    Config config;
    config.model.context = o.context;
    config.train.micro_batch = config.train.global_batch = o.batch;
    config.train.precision = precision;
    return config;
  }

  std::string precision_;
  Config config_;
  std::unique_ptr<Model> model_;
  DryRun plan_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Communicator> comm_;
  Buffer<std::byte> memory_;
  Arena arena_;
  OpTimer timer_;
  TrainStep step_;
  HostBatch batch_;
  GemmCeiling ceiling_;
  double tokens_, square_flops_;
  std::vector<double> step_ms_, ceiling_ms_;
};

Options parse(int argc, char** argv) {
  Options o;
  for (int i = 1; i < argc; ++i) {
    const auto value = [&] { return i + 1 < argc ? std::atoi(argv[++i]) : 0; };
    if (!std::strcmp(argv[i], "--precision"))
      o.precision = i + 1 < argc ? argv[++i] : "";
    else if (!std::strcmp(argv[i], "--threads"))
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
      o.precision = "";
    }
  }
  if (o.precision != "fp32" && o.precision != "bf16" && o.precision != "fp16") {
    fmt::print(stderr,
               "usage: step [--precision fp32|bf16|fp16] [--threads N] [--steps N] [--batch B] [--context T] "
               "[--no-ops]\n");
    std::exit(64);
  }
  return o;
}

}  // namespace

int main(int argc, char** argv) {
  const Options o = parse(argc, argv);
  Bench bench(o, o.precision);
  std::optional<Bench> fp32;
  if (o.precision != "fp32") fp32.emplace(o, "fp32");
  for (int i = 1; i <= o.steps + 1; ++i) {
    bench.run(i);
    if (fp32) fp32->run(i);
  }
  bench.print(o);
  if (!fp32) return 0;
  fp32->print(o);
  fmt::print("\n{} is {:.2f}x as fast as fp32{}\n", o.precision, fp32->step_ms() / bench.step_ms(),
             o.precision == "bf16" ? " (goal: at least 1.6x)" : "");
}
