// The yardstick itself: in double its gradients are those of its loss, in f32 it agrees with the CPU backend, and in 16
// bits it is wrong by about what rounding costs.
#include <catch2/catch.hpp>
#include <random>
#include <utility>

#include "models/gpt2/gpt2.h"
#include "tests/precision/errors.h"
#include "tests/precision/plain_op_table.h"
#include "tests/support/learnable_batch.h"

using namespace ddp;
using namespace ddp::test;

namespace {

constexpr int64_t kVocab = 50, kContext = 9, kSamples = 3;

// Small, odd, with padding columns and dropout everywhere.
const gpt2::Gpt2& tiny() {
  static const gpt2::Gpt2 model(
      {.layers = 2, .heads = 2, .width = 24, .context = kContext, .vocab = kVocab, .dropout = 0.2f});
  return model;
}

HostBatch batch() {
  static const BatchLayout layout(tiny().inputs(), kSamples);
  HostBatch batch(layout);
  fill_learnable(batch, kVocab, 3);
  return batch;
}

}  // namespace

TEST_CASE("plain ops in f64: a model's gradients are the finite differences of its loss") {
  const std::unique_ptr<Device> device = make_cpu_device({});
  const Backend f64{*device, plain_op_table(), DType::f64};
  Vec params = scrambled_params(tiny());
  const HostBatch data = batch();
  const Vec grads = train_pass(f64, tiny(), params, data, 1024.0f).grads;
  std::mt19937 random(12);
  for (const Param& p : tiny().layout().params()) {
    const int64_t live = p.live.numel();
    for (int probe = 0; probe < 3; ++probe) {
      const size_t i = size_t(p.offset) + size_t(random() % uint64_t(live));
      CAPTURE(p.name, i - size_t(p.offset));
      const auto loss_at = [&](double x) {
        const double before = std::exchange(params[i], x);
        const double loss = train_pass(f64, tiny(), params, data, 1.0f).loss;
        params[i] = before;
        return loss;
      };
      constexpr double kStep = 1e-4;
      const double slope = (loss_at(params[i] + kStep) - loss_at(params[i] - kStep)) / (2 * kStep);
      CHECK(grads[i] == Approx(slope).epsilon(1e-5).margin(1e-9));
    }
  }
}

TEST_CASE("plain ops in f32: a model's loss and gradients are the CPU backend's, within f32's rounding") {
  const std::unique_ptr<Device> device = make_cpu_device({});
  const Vec params = scrambled_params(tiny());
  const ModelPass plain = train_pass({*device, plain_op_table(), DType::f32}, tiny(), params, batch(), 1.0f);
  const ModelPass cpu = train_pass({*device, cpu_op_table(), DType::f32}, tiny(), params, batch(), 1.0f);
  CHECK(cpu.loss == Approx(plain.loss).epsilon(1e-6));
  for (const auto& [name, error] : gradient_errors(tiny().layout(), cpu.grads, plain.grads)) {
    CAPTURE(name);
    CHECK(error < 2e-6);
  }
}

TEST_CASE("plain ops in 16 bits: gradients are off by more than one rounding, and by less than a hundred") {
  const std::unique_ptr<Device> device = make_cpu_device({});
  for (const DType type : {DType::f16, DType::bf16}) {
    const Vec params = rounded(scrambled_params(tiny()), type);
    const ModelPass exact = train_pass({*device, plain_op_table(), DType::f64}, tiny(), params, batch(), 1024.0f);
    const ModelPass naive = train_pass({*device, plain_op_table(), type}, tiny(), params, batch(), 1024.0f);
    for (const auto& [name, error] : gradient_errors(tiny().layout(), naive.grads, exact.grads)) {
      CAPTURE(dtype_name(type), name, error / rounding(type));
      CHECK(error > 0.2 * rounding(type));
      CHECK(error < 100 * rounding(type));
    }
  }
}
