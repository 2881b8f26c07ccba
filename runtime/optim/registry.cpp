// The optimizers by name: one line each.
#include "runtime/optim/adamw.h"
#include "runtime/optim/sgd.h"

namespace ddp {

std::unique_ptr<Optimizer> make_optimizer(Device& device, const ParamLayout& layout, const OptimizerConfig& config,
                                          Stream& stream) {
  switch (config.name) {
    case OptimizerName::adamw:
      return std::make_unique<AdamWOptimizer>(device, layout, config, stream);
    case OptimizerName::sgd:
      return std::make_unique<SgdOptimizer>(device, layout, config, stream);
  }
  DDP_CHECK(false, "optimizer {}", int(config.name));
  return nullptr;
}

}  // namespace ddp
