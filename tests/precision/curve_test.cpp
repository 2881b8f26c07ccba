// Training in 16 bits drifts from training in f32: at most twice as far as naive mixed precision does. Scale, master
// parameters and update are the real ones in both.
#include <catch2/catch.hpp>
#include <cmath>

#include "tests/precision/backend.h"
#include "tests/precision/errors.h"
#include "tests/precision/plain_op_table.h"
#include "tests/precision/small_gpt2.h"

using namespace ddp;
using namespace ddp::test;

namespace {

// Mean losses of the steps of small_config.
Vec loss_curve(PrecisionName precision, std::unique_ptr<Device> device, const OpTable& table) {
  StepRunner run(small_config(precision), std::move(device), table);
  Vec losses;
  for (int64_t step = 1; step <= num_curve_steps(); ++step) {
    const StepMetrics metrics = run.train(step);
    REQUIRE(metrics.update == kApplied);  // else the curves are of different updates
    losses.push_back(metrics.loss_sum / double(kSmallSamples * kSmallContext));
  }
  return losses;
}

double rms_difference(const Vec& a, const Vec& b) {
  double total = 0.0;
  for (size_t i = 0; i < a.size(); ++i) total += (a[i] - b[i]) * (a[i] - b[i]);
  return std::sqrt(total / double(a.size()));
}

}  // namespace

TEST_CASE("over the first steps the loss is within twice naive mixed precision's distance from f32") {
  const Vec f32 = loss_curve(PrecisionName::fp32, make_cpu_device({.num_threads = 2}), cpu_op_table());
  REQUIRE(f32.back() < f32.front());
  for (const DType type : measured_types()) {
    const PrecisionName precision = type == DType::f16 ? PrecisionName::fp16 : PrecisionName::bf16;
    const double naive = rms_difference(loss_curve(precision, make_cpu_device({}), plain_op_table()), f32);
    const double ours = rms_difference(loss_curve(precision, make_measured_device(), measured_op_table()), f32);
    CAPTURE(name_of(precision), ours, naive);
    CHECK(ours <= 2 * naive);
  }
}
