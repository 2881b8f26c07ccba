// The optimizers by name: one line each.
#include <algorithm>
#include <string_view>

#include "runtime/optim/adamw.h"
#include "runtime/optim/sgd.h"

namespace ddp {
namespace {

template <class T>
std::unique_ptr<Optimizer> make(Device& device, const ParamLayout& layout, const OptimizerConfig& config,
                                Stream& stream) {
  return std::make_unique<T>(device, layout, config, stream);
}

struct Entry {
  std::string_view name;
  decltype(&make_optimizer) make;
};

constexpr Entry kOptimizers[] = {
    {"adamw", make<AdamWOptimizer>},
    {"sgd", make<SgdOptimizer>},
};

}  // namespace

std::unique_ptr<Optimizer> make_optimizer(Device& device, const ParamLayout& layout, const OptimizerConfig& config,
                                          Stream& stream) {
  const auto* const entry = std::find_if(std::begin(kOptimizers), std::end(kOptimizers),
                                         [&](const Entry& e) { return e.name == config.name; });
  DDP_CHECK(entry != std::end(kOptimizers), "optimizer {}", config.name);  // check_config knows the names
  return entry->make(device, layout, config, stream);
}

}  // namespace ddp
