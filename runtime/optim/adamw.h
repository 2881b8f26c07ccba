// AdamW with decoupled weight decay (Loshchilov and Hutter, 2019), one fused pass over flat buffers.
#pragma once

#include "runtime/optim/optimizer.h"

namespace ddp {

class AdamWOptimizer final : public Optimizer {
 public:
  AdamWOptimizer(Device& device, const ParamLayout& layout, const OptimizerOptions& options, Stream& stream);

  void step(const Exec& exec, const Parameters& params, const ReducedGradients& gradients,
            StepMetrics* metrics) override;
  std::vector<OptimizerState> state() const override;
  StepScalars* scalars() const override { return reinterpret_cast<StepScalars*>(scalars_.data()); }
  int64_t bytes() const override;

 private:
  OptimizerOptions options_;
  Buffer<float> m_, v_;        // flat
  Buffer<float> chunk_decay_;  // (chunks)
  Buffer<float> lr_table_;     // (steps)
  Buffer<uint8_t> scalars_;    // one StepScalars
};

}  // namespace ddp
