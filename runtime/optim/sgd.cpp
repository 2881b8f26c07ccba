#include "runtime/optim/sgd.h"

namespace ddp {
namespace {

// Zero at first, so that the first update makes it the gradient, as torch's does.
std::vector<std::string> state_names(const OptimizerConfig& config) {
  if (config.momentum == 0.0) return {};
  return {"momentum_buffer"};
}

}  // namespace

SgdOptimizer::SgdOptimizer(Device& device, const ParamLayout& layout, const OptimizerConfig& config, Stream& stream)
    : Optimizer(device, layout, state_names(config), {}, stream), config_(config) {}

void SgdOptimizer::update(const Exec& exec, const Parameters& params, const ReducedGradients& gradients,
                          const StepScalars* scalars) {
  sgd(exec, {.p = params.master,
             .g = gradients.flat,
             .chunk_begin = gradients.chunk_begin,
             .chunk_decay = chunk_decay(),
             .m = states().empty() ? TensorView() : state(0),
             .rounded = params.rounded,
             .scalars = scalars,
             .momentum = float(config_.momentum),
             .weight_decay = float(config_.weight_decay),
             .nesterov = config_.nesterov});
}

}  // namespace ddp
