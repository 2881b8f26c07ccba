// From the same parameters and batch, each gradient tensor of the backend against double: at most twice as far as naive
// mixed precision is, in the mean over some batches. Both gradients end as 16 bits, so one rounding is always granted.
#include <algorithm>
#include <catch2/catch.hpp>

#include "tests/precision/backend.h"
#include "tests/precision/errors.h"
#include "tests/precision/plain_op_table.h"
#include "tests/precision/small_models.h"

using namespace ddp;
using namespace ddp::test;

namespace {

// sums (=|+= where there are some) errors * factor.
void add(std::vector<TensorError>& sums, const std::vector<TensorError>& errors, double factor) {
  sums.resize(errors.size());
  for (size_t i = 0; i < errors.size(); ++i) sums[i].name = errors[i].name, sums[i].error += errors[i].error * factor;
}

void check_gradients(const SmallModel& small, float dropout, const Vec& checkpoint) {
  const std::unique_ptr<Model> model = small.make(dropout);
  const BatchLayout layout(model->inputs(), small.samples);
  HostBatch batch(layout);
  const std::unique_ptr<Device> cpu = make_cpu_device({}), measured = make_measured_device();
  constexpr float kLossScale = 1024.0f;
  for (const DType type : measured_types()) {
    const Vec params = rounded(checkpoint, type);  // as all of them read
    const auto pass = [&](Device& device, const OpTable& table, DType storage) {
      return train_pass({device, table, storage}, *model, params, batch, kLossScale).grads;
    };
    std::vector<TensorError> naive, ours;
    for (int i = 0; i < small.batches; ++i) {
      small.fill(batch, uint32_t(77 + i), 0);
      const Vec exact = pass(*cpu, plain_op_table(), DType::f64);
      add(naive, gradient_errors(model->layout(), pass(*cpu, plain_op_table(), type), exact), 1.0 / small.batches);
      add(ours, gradient_errors(model->layout(), pass(*measured, measured_op_table(), type), exact),
          1.0 / small.batches);
    }
    for (size_t i = 0; i < ours.size(); ++i) {
      CAPTURE(small.name, dropout, dtype_name(type), ours[i].name, ours[i].error, naive[i].error);
      CHECK(ours[i].error <= std::max(2 * naive[i].error, rounding(type)));
    }
  }
}

}  // namespace

TEST_CASE("gradients of a fresh model are within twice the error of naive mixed precision") {
  for (const SmallModel& small : small_models())
    for (const float dropout : small.dropouts) check_gradients(small, dropout, initial_params(*small.make(dropout)));
}

TEST_CASE("gradients after 20 steps of training are within twice the error of naive mixed precision") {
  for (const SmallModel& small : small_models()) {
    StepRunner run(small.config(PrecisionName::fp32), make_cpu_device({.num_threads = 2}), cpu_op_table(),
                   small.makers);
    for (int64_t step = 1; step <= 20; ++step) train(run, small, step);
    const std::vector<float> trained = run.params();
    check_gradients(small, 0.0f, {trained.begin(), trained.end()});
  }
}

TEST_CASE("gradients at parameters far from the initial ones are within twice the error of naive mixed precision") {
  for (const SmallModel& small : small_models()) {
    const float dropout = small.dropouts.back();
    check_gradients(small, dropout, scrambled_params(*small.make(dropout)));
  }
}

// Here errors are of rounding alone and the bound is sharp: a mean of batch norm's backward in 16 bits fails it. Some
// biases are followed by nothing but a batch norm, so that their gradient is 0 and all of it in 16 bits is error.
TEST_CASE("gradients where no ReLU changes sides are within twice the error of naive mixed precision") {
  for (const SmallModel& small : small_models()) {
    if (small.leave_kinks == nullptr) continue;
    const std::unique_ptr<Model> model = small.make(0.0f);
    Vec params = scrambled_params(*model);
    small.leave_kinks(model->layout(), params);
    check_gradients(small, 0.0f, params);
  }
}
