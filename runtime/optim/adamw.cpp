#include "runtime/optim/adamw.h"

namespace ddp {

AdamWOptimizer::AdamWOptimizer(Device& device, const ParamLayout& layout, const OptimizerConfig& config, Stream& stream)
    : Optimizer(device, layout, {"exp_avg", "exp_avg_sq"}, {{"beta1_power", 1.0}, {"beta2_power", 1.0}}, stream),
      config_(config),
      correction_(device, 1) {}

void AdamWOptimizer::update(const Exec& exec, const Parameters& params, const ReducedGradients& gradients,
                            const StepScalars* scalars) {
  const auto beta1 = float(config_.betas[0]), beta2 = float(config_.betas[1]);
  adamw_correct(exec, {.powers = scalar_values(),
                       .correction = correction_.data(),
                       .scalars = scalars,
                       .beta1 = beta1,
                       .beta2 = beta2});
  adamw(exec, {.p = params.master,
               .m = state(0),
               .v = state(1),
               .g = gradients.flat,
               .chunk_begin = gradients.chunk_begin,
               .chunk_decay = chunk_decay(),
               .rounded = params.rounded,
               .scalars = scalars,
               .correction = correction_.data(),
               .beta1 = beta1,
               .beta2 = beta2,
               .eps = float(config_.eps),
               .weight_decay = float(config_.weight_decay)});
}

}  // namespace ddp
