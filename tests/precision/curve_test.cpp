// Training in 16 bits drifts from training in f32: at most twice as far as naive mixed precision does. Scale, master
// parameters and update are the real ones in both.
#include <catch2/catch.hpp>
#include <cmath>

#include "tests/precision/backend.h"
#include "tests/precision/errors.h"
#include "tests/precision/plain_op_table.h"
#include "tests/precision/small_models.h"

using namespace ddp;
using namespace ddp::test;

namespace {

std::unique_ptr<Device> make_cpu() { return make_cpu_device({.num_threads = 2}); }

// Mean losses of the steps of small.config(), of all runs.
Vec loss_curve(const SmallModel& small, PrecisionName precision, std::unique_ptr<Device> (*make_device)(),
               const OpTable& table) {
  Vec losses;
  for (int seed = 0; seed < small.runs; ++seed) {
    StepRunner run(small.config(precision), make_device(), table, small.makers);
    for (int64_t step = 1; step <= num_curve_steps(); ++step) {
      const StepMetrics metrics = train(run, small, step, seed);
      REQUIRE(metrics.update == kApplied);  // else the curves are of different updates
      losses.push_back(metrics.loss());
    }
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
  for (const SmallModel& small : small_models()) {
    const Vec f32 = loss_curve(small, PrecisionName::fp32, make_cpu, cpu_op_table());
    REQUIRE(f32.back() < f32.front());
    for (const DType type : measured_types()) {
      const PrecisionName precision = type == DType::f16 ? PrecisionName::fp16 : PrecisionName::bf16;
      const double naive = rms_difference(loss_curve(small, precision, make_cpu, plain_op_table()), f32);
      const double ours = rms_difference(loss_curve(small, precision, make_measured_device, measured_op_table()), f32);
      CAPTURE(small.name, name_of(precision), ours, naive);
      CHECK(ours <= 2 * naive);
    }
  }
}
