// Optimizer: the update of the parameters, one call a step. It owns the parameters' companions, as lists: flat states
// (moments) and scalars on the device. Whoever starts, plans, saves or resumes a run loops over these lists. Whether
// the step is applied, and with which learning rate and clip factor, is in the step's scalars when it is called.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/ops.h"
#include "runtime/config/config.h"
#include "runtime/state/param_layout.h"

namespace ddp {

// What the reducer leaves for the update, on the device and identical on every rank.
struct ReducedGradients {
  TensorView flat;         // f32, f16 or bf16 (flat elements)
  TensorView chunk_begin;  // i64 (chunks + 1)
};

// What is updated.
struct Parameters {
  TensorView master;   // f32 (flat elements)
  TensorView rounded;  // f16 or bf16 (flat elements): what the model reads; empty where it reads the master
};

// A piece of optimizer state as a checkpoint names it, laid out like the parameters; zero at first.
struct OptimizerState {
  std::string name;  // "exp_avg"
  TensorView flat;   // f32 (flat elements)
};

// A number of optimizer state, f64 on the device, as a manifest names it.
struct OptimizerScalar {
  std::string name;  // "beta1_power"
  double initial = 0.0;
};

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  // Updates params in place, unless scalars->skips(): then nothing changes. scalars is in device memory, as
  // step_finalize left it.
  virtual void update(const Exec& exec, const Parameters& params, const ReducedGradients& gradients,
                      const StepScalars* scalars) = 0;

  const std::vector<OptimizerState>& states() const { return states_; }
  const std::vector<OptimizerScalar>& scalars() const { return scalars_; }
  // f64 (scalars), in their order; empty where there are none.
  TensorView scalar_values() const { return scalar_values_.view(); }
  virtual int64_t bytes() const;  // of device memory

 protected:
  // Sets the initial values through `stream`; blocks.
  Optimizer(Device& device, const ParamLayout& layout, const std::vector<std::string>& states,
            std::vector<OptimizerScalar> scalars, Stream& stream);
  TensorView state(size_t i) const { return states_[i].flat; }
  TensorView chunk_decay() const { return chunk_decay_.view(); }  // ParamLayout::chunk_decay, f32 (chunks)

 private:
  std::vector<Buffer<float>> flats_;
  std::vector<OptimizerState> states_;
  std::vector<OptimizerScalar> scalars_;
  Buffer<double> scalar_values_;
  Buffer<float> chunk_decay_;
};

// The one that config.name names. Sets the initial state through `stream`; blocks.
std::unique_ptr<Optimizer> make_optimizer(Device& device, const ParamLayout& layout, const OptimizerConfig& config,
                                          Stream& stream);

}  // namespace ddp
