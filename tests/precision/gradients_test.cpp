// From the same parameters and batch, each gradient tensor of the backend against double: at most twice as far as naive
// mixed precision is. Both gradients end as 16 bits, so one rounding is always granted.
#include <algorithm>
#include <catch2/catch.hpp>

#include "tests/precision/backend.h"
#include "tests/precision/errors.h"
#include "tests/precision/plain_op_table.h"
#include "tests/precision/small_gpt2.h"

using namespace ddp;
using namespace ddp::test;

namespace {

void check_gradients(const Vec& checkpoint, float dropout) {
  // A row of logits at a time: the tied embedding's gradient is a sum of as many parts as in a large batch.
  const gpt2::Gpt2 model = small_gpt2(dropout, /*logits_rows=*/1);
  const BatchLayout layout(model.inputs(), 4);
  HostBatch batch(layout);
  fill_learnable(batch, kSmallVocab, 77);
  const std::unique_ptr<Device> cpu = make_cpu_device({}), measured = make_measured_device();
  constexpr float kLossScale = 1024.0f;
  for (const DType type : measured_types()) {
    const Vec params = rounded(checkpoint, type);  // as all of them read
    const auto pass = [&](Device& device, const OpTable& table, DType storage) {
      return train_pass({device, table, storage}, model, params, batch, kLossScale).grads;
    };
    const Vec exact = pass(*cpu, plain_op_table(), DType::f64);
    const auto naive = gradient_errors(model.layout(), pass(*cpu, plain_op_table(), type), exact);
    const auto ours = gradient_errors(model.layout(), pass(*measured, measured_op_table(), type), exact);
    for (size_t i = 0; i < ours.size(); ++i) {
      CAPTURE(dtype_name(type), ours[i].name, ours[i].error, naive[i].error);
      CHECK(ours[i].error <= std::max(2 * naive[i].error, rounding(type)));
    }
  }
}

}  // namespace

TEST_CASE("gradients of a fresh model are within twice the error of naive mixed precision") {
  for (const float dropout : {0.0f, 0.1f}) {
    CAPTURE(dropout);
    check_gradients(initial_params(small_gpt2()), dropout);
  }
}

TEST_CASE("gradients after 20 steps of training are within twice the error of naive mixed precision") {
  StepRunner run(small_config(PrecisionName::fp32));
  for (int64_t step = 1; step <= 20; ++step) run.train(step);
  const std::vector<float> trained = run.params();
  check_gradients({trained.begin(), trained.end()}, 0.0f);
}

TEST_CASE("gradients at parameters far from the initial ones are within twice the error of naive mixed precision") {
  check_gradients(scrambled_params(small_gpt2()), 0.1f);
}
