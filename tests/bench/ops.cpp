// Times every op at the shapes of a GPT-2 small step (B=4, T=256; logits in chunks of 256 rows), beside a triad in the
// same run: memory-bound ops are judged by their share of it; and the convolutions of ResNet-50 whose windows are
// larger than 1x1. Usage: bench_ops [threads] [repetitions]
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <thread>
#include <vector>

#include "kernels/op_table.h"
#include "kernels/ops.h"
#include "runtime/device/cpu_device.h"

namespace ddp {
namespace {

constexpr int64_t kB = 4, kT = 256, kC = 768, kH = 12, kV = 50304, kLive = 50257, kM = kB * kT, kHeadRows = 256,
                  kLayers = 12;
constexpr int64_t kFlat = int64_t{1} << 25, kParameters = 124'439'808, kChunk = 16384;

class LastOp : public OpObserver {
 public:
  void before(const OpInfo& op, Stream&) override { info = op; }
  void after(const OpInfo&, Stream&) override {}
  OpInfo info;
};

class Bench {
 public:
  Bench(int threads, int repetitions)
      : repetitions_(repetitions),
        device_(make_cpu_device({.num_threads = threads})),
        stream_(*device_, StreamRole::compute) {}

  Exec exec() { return {.table = &op_table(DeviceKind::cpu), .stream = &stream_, .observer = &last_}; }
  Stream& stream() { return stream_; }

  // A buffer that lives as long as the bench, of values in [-1, 1).
  TensorView floats(const Shape& shape) {
    const Buffer<float>& buffer = buffers_.emplace_back(*device_, shape.numel());
    uint32_t state = 1;
    for (int64_t i = 0; i < buffer.count(); ++i) {
      state = state * 1664525u + 1013904223u;
      buffer.data()[i] = float(state >> 8) * 0x1p-23f - 1.0f;
    }
    return buffer.view(shape);
  }

  // Best time of the repetitions, ms.
  double time_ms(const std::function<void()>& enqueue) {
    Event done(*device_);
    double best = 1e300;
    for (int i = 0; i <= repetitions_; ++i) {
      const auto begin = std::chrono::steady_clock::now();
      enqueue();
      done.record(stream_);
      done.synchronize({});
      const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - begin;
      if (i > 0) best = std::min(best, taken.count());  // the first touches the memory
    }
    return best;
  }

  // `calls`: of this op in a step, 0 to leave it out of the total; `bytes`: moved, where the arguments' sizes do not
  // say it.
  void report(const char* name, double calls, const std::function<void(const Exec&)>& op, double bytes = 0) {
    const double ms = time_ms([&] { op(exec()); });
    if (bytes == 0) bytes = double(last_.info.bytes);
    fmt::print("{:<28}{:>9.3f} ms {:>8.1f} GB/s", name, ms, bytes / ms / 1e6);
    if (last_.info.flops > 0) fmt::print(" {:>8.1f} GFLOP/s", double(last_.info.flops) / ms / 1e6);
    fmt::print("{}\n", calls > 0 ? fmt::format("  x{:<6.4g} = {:.1f} ms a step", calls, calls * ms) : "");
    total_ms_ += calls * ms;
  }
  double total_ms() const { return total_ms_; }

 private:
  int repetitions_;
  std::unique_ptr<Device> device_;
  Stream stream_;
  LastOp last_;
  std::vector<Buffer<float>> buffers_;
  double total_ms_ = 0.0;
};

void memory_ceilings(Bench& bench, float* a, float* b, float* c) {
  const double ms = bench.time_ms([&] {
    cpu_enqueue(bench.stream(), [=](ThreadPool& pool) {
      pool.parallel_for(kFlat / 65536, [=](int64_t block) {
        for (int64_t i = block * 65536; i < (block + 1) * 65536; ++i) a[i] = b[i] + 3.0f * c[i];
      });
    });
  });
  fmt::print("{:<28}{:>9.3f} ms {:>8.1f} GB/s (12 bytes an element, without the read for ownership)\n", "triad", ms,
             12.0 * kFlat / ms / 1e6);
}

void transformer_ops(Bench& bench, float p) {
  const uint32_t step = 1;
  const std::vector<int32_t> ids = {0, 1, 2, 3};
  const Dropout dropout = {.p = p, .seed = 1, .site = 1, .step = &step, .sample_ids = ids.data(), .num_samples = kB};
  const TensorView x = bench.floats({kM, kC}), y = bench.floats({kM, kC}), z = bench.floats({kM, kC}),
                   dx = bench.floats({kM, kC});
  const TensorView w = bench.floats({kC}), b = bench.floats({kC}), mean = bench.floats({kM}), rstd = bench.floats({kM});
  const TensorView norm_workspace = bench.floats({layernorm_workspace(kM, kC) / 4});
  const double norms = 2 * kLayers + 1;
  bench.report("layernorm_forward", norms, [&](const Exec& e) {
    layernorm_forward(e, {.residual_out = z,
                          .y = y,
                          .mean = mean,
                          .rstd = rstd,
                          .residual_in = x,
                          .branch = dx,
                          .w = w,
                          .b = b,
                          .dropout = dropout});
  });
  bench.report("layernorm_backward", norms, [&](const Exec& e) {
    layernorm_backward(e, {.dresidual = dx,
                           .dbranch = p > 0 ? z : TensorView{},
                           .dw = w,
                           .db = b,
                           .dy = y,
                           .x = x,
                           .mean = mean,
                           .rstd = rstd,
                           .w = w,
                           .workspace = norm_workspace,
                           .dropout = dropout});
  });

  const TensorView wide = bench.floats({kM, 4 * kC}), wide_y = bench.floats({kM, 4 * kC});
  bench.report("gelu_forward", kLayers, [&](const Exec& e) { gelu_forward(e, {.y = wide_y, .x = wide}); });
  bench.report("gelu_backward", kLayers,
               [&](const Exec& e) { gelu_backward(e, {.dx = wide_y, .dy = wide_y, .x = wide}); });

  const TensorView qkv = bench.floats({kB, kT, 3 * kC}), dqkv = bench.floats({kB, kT, 3 * kC}),
                   lse = bench.floats({kB, kH, kT});
  const TensorView workspace = bench.floats({attention_workspace(kB, kT, kH) / 4});
  const Shape btc = {kB, kT, kC};
  bench.report("attention_forward", kLayers, [&](const Exec& e) {
    attention_forward(e, {.out = y.view(btc), .lse = lse, .qkv = qkv, .heads = kH, .dropout = dropout});
  });
  bench.report("attention_backward", kLayers, [&](const Exec& e) {
    attention_backward(e, {.dqkv = dqkv,
                           .dout = x.view(btc),
                           .out = y.view(btc),
                           .qkv = qkv,
                           .lse = lse,
                           .workspace = workspace,
                           .heads = kH,
                           .dropout = dropout});
  });
}

void embedding_and_loss(Bench& bench) {
  std::vector<int32_t> tokens(kM);
  for (int64_t i = 0; i < kM; ++i) tokens[size_t(i)] = int32_t(i * 7919 % kLive);
  const TensorView token_view(tokens.data(), DType::i32, {kB, kT}), x = bench.floats({kB, kT, kC});
  const TensorView wte = bench.floats({kV, kC}), wpe = bench.floats({1024, kC});
  bench.report(
      "embedding_forward", 1,
      [&](const Exec& e) { embedding_forward(e, {.out = x, .tokens = token_view, .wte = wte, .wpe = wpe}); },
      4.0 * 3 * kM * kC);
  bench.report(
      "embedding_backward", 1,
      [&](const Exec& e) { embedding_backward(e, {.dwte = wte, .dwpe = wpe, .dout = x, .tokens = token_view}); },
      4.0 * 6 * kM * kC);

  const TensorView logits = bench.floats({kHeadRows, kV}), loss = bench.floats({kHeadRows});
  const TensorView targets(tokens.data(), DType::i32, {kHeadRows});
  const double groups = double(kM) / kHeadRows;
  bench.report("cross_entropy, loss only", 0, [&](const Exec& e) {
    cross_entropy(e, {.logits = logits, .loss = loss, .targets = targets, .live_columns = kLive, .backward = false});
  });
  bench.report(
      "cross_entropy", groups,
      [&](const Exec& e) {
        cross_entropy(e, {.logits = logits, .loss = loss, .targets = targets, .live_columns = kLive});
      },
      8.0 * kHeadRows * kV);
}

void flat_ops(Bench& bench) {
  const TensorView p = bench.floats({kFlat}), m = bench.floats({kFlat}), v = bench.floats({kFlat}),
                   g = bench.floats({kFlat});
  memory_ceilings(bench, m.as<float>(), p.as<float>(), g.as<float>());
  std::fill_n(v.as<float>(), kFlat, 1.0f);
  constexpr int64_t kChunks = kFlat / kChunk;
  std::vector<int64_t> chunk_begin;
  for (int64_t s = 0; s <= kChunks; ++s) chunk_begin.push_back(s * kChunk);
  std::vector<double> partials(kChunks);
  const TensorView begin(chunk_begin.data(), DType::i64, {kChunks + 1}), decay = bench.floats({kChunks});
  const StepScalars scalars = {.state = {}, .lr = 1e-4f, .grad_scale = 1, .update = kApplied};
  const AdamWCorrection correction = {.step_size = 1e-3f, .rsqrt_bias2 = 4};
  const double share = double(kParameters) / kFlat;
  bench.report(
      "add_into", 0, [&](const Exec& e) { add_into(e, {.y = m, .x = g}); }, 12.0 * kFlat);
  bench.report("sum_squares", share, [&](const Exec& e) {
    sum_squares(e, {.partials = TensorView(partials.data(), DType::f64, {kChunks}), .x = g, .chunk_begin = begin});
  });
  bench.report(
      "adamw", share,
      [&](const Exec& e) {
        adamw(e, {.p = p,
                  .m = m,
                  .v = v,
                  .g = g,
                  .chunk_begin = begin,
                  .chunk_decay = decay,
                  .scalars = &scalars,
                  .correction = &correction,
                  .beta1 = 0.9f,
                  .beta2 = 0.95f,
                  .eps = 1e-8f,
                  .weight_decay = 0.1f});
      },
      28.0 * kFlat);
}

void convolutions(Bench& bench) {
  struct Layer {
    const char* name;
    int64_t size, c, k, window, stride;
  };
  constexpr Layer kConvolutions[] = {
      {"7x7 / 2, 4 to 64, 224", 224, 4, 64, 7, 2}, {"3x3, 64, 56", 56, 64, 64, 3, 1},
      {"3x3 / 2, 128, 56", 56, 128, 128, 3, 2},    {"3x3, 128, 28", 28, 128, 128, 3, 1},
      {"3x3 / 2, 256, 28", 28, 256, 256, 3, 2},    {"3x3, 256, 14", 14, 256, 256, 3, 1},
      {"3x3 / 2, 512, 14", 14, 512, 512, 3, 2},    {"3x3, 512, 7", 7, 512, 512, 3, 1},
  };
  constexpr int64_t kN = 8;
  for (const auto& [name, size, c, k, window, stride] : kConvolutions) {
    const Window at = {.stride = stride, .padding = window / 2};
    const int64_t positions = num_windows(size, window, at);
    const TensorView x = bench.floats({kN, size, size, c}), w = bench.floats({k, window, window, c}),
                     y = bench.floats({kN, positions, positions, k});
    fmt::print("{}\n", name);
    bench.report("  forward", 0,
                 [&](const Exec& e) { convolution_forward(e, {.y = y, .x = x, .w = w, .window = at}); });
    bench.report("  gradient of the input", 0,
                 [&](const Exec& e) { convolution_backward_input(e, {.dx = x, .dy = y, .w = w, .window = at}); });
    bench.report("  gradient of the weights", 0,
                 [&](const Exec& e) { convolution_backward_weight(e, {.dw = w, .x = x, .dy = y, .window = at}); });
  }
}

}  // namespace
}  // namespace ddp

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : int(std::thread::hardware_concurrency());
  ddp::Bench bench(threads, argc > 2 ? std::atoi(argv[2]) : 10);
  fmt::print("GPT-2 small, B=4, T=256, {} threads; best of the repetitions\n", threads);
  ddp::flat_ops(bench);
  ddp::transformer_ops(bench, 0.0f);
  ddp::embedding_and_loss(bench);
  fmt::print("all but the linear layers: {:.0f} ms a step\n\nwith dropout 0.1:\n", bench.total_ms());
  ddp::transformer_ops(bench, 0.1f);
  fmt::print("\nconvolutions of ResNet-50, N=8:\n");
  ddp::convolutions(bench);
}
