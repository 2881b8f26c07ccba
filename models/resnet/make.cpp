#include "models/layers/pixels.h"
#include "models/registry.h"
#include "models/resnet/resnet.h"
#include "runtime/state/precision.h"

namespace ddp::resnet {

// models/registry.h
std::unique_ptr<Model> make(const Config& config, DeviceKind) {
  return std::make_unique<ResNet>(options_of<Options>(config), padded_channels(precision_of(config.train).storage));
}

}  // namespace ddp::resnet
