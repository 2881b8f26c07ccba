// Stochastic gradient descent with momentum, as torch.optim.SGD without dampening: weight decay is added to the
// gradient, one fused pass over flat buffers.
#pragma once

#include "runtime/optim/optimizer.h"

namespace ddp {

class SgdOptimizer final : public Optimizer {
 public:
  SgdOptimizer(Device& device, const ParamLayout& layout, const OptimizerConfig& config, Stream& stream);

  void update(const Exec& exec, const Parameters& params, const ReducedGradients& gradients,
              const StepScalars* scalars) override;

 private:
  OptimizerConfig config_;
};

}  // namespace ddp
