// Optimizer: one call a step. It owns the parameters' companions (moments) and the step's scalars on the device; the
// decision to clip or to skip, the learning rate and the bias correction are made there, without the host.
#pragma once

#include <memory>
#include <vector>

#include "kernels/ops.h"
#include "runtime/config/config.h"
#include "runtime/state/param_layout.h"

namespace ddp {

// What the reducer leaves for the update, on the device and identical on every rank.
struct ReducedGradients {
  TensorView flat;         // f32, f16 or bf16 (flat elements)
  TensorView partials;     // f64 (chunks): sums of squares
  TensorView chunk_begin;  // i64 (chunks + 1)
  TensorView loss_votes;   // f64 (kFirstMark + ranks) by LossVote
};

// What is updated.
struct Parameters {
  TensorView master;   // f32 (flat elements)
  TensorView rounded;  // f16 or bf16 (flat elements): what the model reads; empty where it reads the master
};

// A piece of optimizer state as a checkpoint names it; laid out like the parameters.
struct OptimizerState {
  const char* name;  // "exp_avg"
  TensorView flat;   // f32 (flat elements)
};

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  // Updates params in place and fills *metrics (device); counts the step. Skips the update where a gradient is not
  // finite.
  virtual void step(const Exec& exec, const Parameters& params, const ReducedGradients& gradients,
                    StepMetrics* metrics) = 0;
  virtual std::vector<OptimizerState> state() const = 0;
  virtual StepScalars* scalars() const = 0;  // device
  virtual int64_t bytes() const = 0;         // of device memory
};

struct OptimizerOptions {
  OptimizerConfig optimizer;
  ScheduleConfig schedule;
  int64_t steps = 0;
  double clip_norm = 0.0;
  LossScaling scaling = {};
  float loss_scale = 1.0f;  // of the first step
};

// Sets the initial state through `stream`; blocks.
std::unique_ptr<Optimizer> make_optimizer(Device& device, const ParamLayout& layout, const OptimizerOptions& options,
                                          Stream& stream);

}  // namespace ddp
