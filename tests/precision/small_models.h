// The models that mixed precision is measured on: what a simulated GPU trains in seconds.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "tests/ops/reference.h"
#include "tests/support/step_runner.h"

namespace ddp::test {

struct SmallModel {
  const char* name;
  std::vector<float> dropouts;  // that gradients are measured with
  int64_t samples;              // of a batch whose gradients are measured
  // Batches that gradients are measured with, and runs. With ReLUs one is not enough: in 16 bits some of their inputs
  // change sides of 0, in ours and in naive mixed precision, and which ones is chance.
  int batches, runs;
  std::unique_ptr<Model> (*make)(float dropout);
  // Of a run without dropout: some steps of two micro-steps, so that gradients are summed in f32 too.
  Config (*config)(PrecisionName precision);
  ModelMakers makers;  // of that run's model: its layout is the same in every precision
  // Moves scrambled parameters to where no ReLU changes sides: errors are of rounding alone. nullptr: it has none.
  void (*leave_kinks)(const ParamLayout& layout, Vec& params);
  // Something to learn, the same for the same seed. Samples are first_sample and those after it of the global batch.
  void (*fill)(HostBatch& batch, uint32_t seed, int32_t first_sample);
};
std::span<const SmallModel> small_models();

// One step of a run of small.config(), the run of this seed.
StepMetrics train(StepRunner& run, const SmallModel& small, int64_t step, int seed = 0);

}  // namespace ddp::test
