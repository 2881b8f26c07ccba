// AdamW with decoupled weight decay (Loshchilov and Hutter, 2019), one fused pass over flat buffers.
#pragma once

#include "runtime/optim/optimizer.h"

namespace ddp {

class AdamWOptimizer final : public Optimizer {
 public:
  AdamWOptimizer(Device& device, const ParamLayout& layout, const OptimizerConfig& config, Stream& stream);

  void update(const Exec& exec, const Parameters& params, const ReducedGradients& gradients,
              const StepScalars* scalars) override;
  int64_t bytes() const override { return Optimizer::bytes() + correction_.bytes(); }

 private:
  OptimizerConfig config_;
  Buffer<AdamWCorrection> correction_;  // one, made anew by each update
};

}  // namespace ddp
