// What a training step of a model costs on this machine's CPU or GPU, against the rate of products in the same type
// that was measured in the same run: on the CPU oneDNN's of the model's own products, on CUDA cuBLASLt's of a large
// square one. Steps and products alternate; medians. The step is the whole of it: forward, loss, backward, norm, clip,
// optimizer.
//
// On CUDA the backend is opened as ddp-rank does it: libddp-cuda13.so (or 12) beside this program, or $DDP_CUDA_MODULE.
// Other precisions than fp32 are measured beside fp32 on the CPU; on a GPU the two would share its memory.
#include <fmt/core.h>

#include <cstdio>
#include <optional>

#include "runtime/base/error.h"
#include "tests/bench/step_report.h"

using namespace ddp;

namespace {

void bench(const StepBenchOptions& options) {
  StepBench bench(options);
  std::optional<StepBench> fp32;
  if (!options.is_cuda && options.config.train.precision != PrecisionName::fp32) {
    StepBenchOptions other = options;
    other.config.train.precision = PrecisionName::fp32;
    fp32.emplace(other);
  }
  for (int i = 0; i < bench.num_warm_up() + options.steps; ++i) {
    bench.run();
    if (fp32) fp32->run();
  }
  const StepResult result = bench.result();
  print(result);
  if (!options.json.empty()) write_json(result, options.json);
  if (!fp32) return;
  const StepResult beside = fp32->result();
  print(beside);
  fmt::print("\n{} is {:.2f}x as fast as fp32\n", name_of(options.config.train.precision),
             median(beside.step_ms) / median(result.step_ms));
}

}  // namespace

int main(int argc, char** argv) {
  try {
    bench(parse_step_options(argc, argv));
    return int(ExitCode::complete);
  } catch (const Error& e) {
    fmt::print(stderr, "bench_step: {}\n", e.what());
    return int(e.code());
  } catch (const std::exception& e) {
    fmt::print(stderr, "bench_step: internal error: {}\n", e.what());
    return int(ExitCode::internal);
  }
}
