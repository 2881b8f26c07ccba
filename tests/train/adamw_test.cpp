// AdamW over several updates: its pass alone is tests/ops/optimizer_test.cpp's.
#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cmath>

#include "kernels/op_table.h"
#include "runtime/optim/optimizer.h"

using namespace ddp;

TEST_CASE("adamw: from zero, parameters are where plain loops in double bring them, while moments fill up and later") {
  constexpr int kSteps = 30, kElements = 33;
  constexpr double kRate = 1e-3;
  const double beta2 = GENERATE(0.95, 0.99, 0.999, 0.9999);
  CAPTURE(beta2);
  ParamLayout layout;
  layout.add("a", {kElements}, true);
  const std::unique_ptr<Device> device = make_cpu_device({});
  Stream stream(*device, StreamRole::compute);
  OptimizerConfig config;
  config.betas = {0.9, beta2};
  config.weight_decay = 0;
  const auto optimizer = make_optimizer(*device, layout, config, stream);
  Buffer<float> params(*device, layout.flat_elements()), grads(*device, layout.flat_elements());
  Buffer<int64_t> chunk_begin(*device, layout.num_chunks() + 1);
  std::ranges::copy(layout.chunk_begin(), chunk_begin.data());
  std::fill_n(params.data(), params.count(), 0.0f);
  const StepScalars scalars{.state = {}, .lr = float(kRate), .grad_scale = 1, .update = kApplied};

  std::array<double, kElements> p{}, m{}, v{};
  for (int step = 1; step <= kSteps; ++step) {
    for (int i = 0; i < kElements; ++i) {
      const auto g = float(1 + i % 7 + std::sin(step * i));
      grads.data()[i] = g;
      m[size_t(i)] = 0.9 * m[size_t(i)] + (1 - 0.9) * g;
      v[size_t(i)] = beta2 * v[size_t(i)] + (1 - beta2) * g * g;
      p[size_t(i)] -= kRate * m[size_t(i)] / (1 - std::pow(0.9, step)) /
                      (std::sqrt(v[size_t(i)] / (1 - std::pow(beta2, step))) + config.eps);
    }
    optimizer->update({.table = &cpu_op_table(), .stream = &stream}, {.master = params.view(), .rounded = {}},
                      {.flat = grads.view(), .chunk_begin = chunk_begin.view()}, &scalars);
    stream.synchronize({});
    double worst = 0;
    for (int i = 0; i < kElements; ++i) worst = std::max(worst, std::abs(double(params.data()[i]) / p[size_t(i)] - 1));
    CAPTURE(step);
    CHECK(worst < 2e-6);
  }
}
