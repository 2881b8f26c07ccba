#include "models/layers/pixels.h"
#include "models/registry.h"
#include "models/vit/vit.h"
#include "runtime/state/precision.h"

namespace ddp::vit {

// models/registry.h
std::unique_ptr<Model> make(const Config& config, DeviceKind device) {
  const auto& options = options_of<Options>(config);
  check_heads(options.width, options.heads, device);
  return std::make_unique<Vit>(options, padded_channels(precision_of(config.train).storage));
}

}  // namespace ddp::vit
