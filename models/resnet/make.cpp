#include "models/registry.h"
#include "models/resnet/resnet.h"
#include "runtime/state/precision.h"

namespace ddp::resnet {

// models/registry.h. A pixel takes 16 bytes, as tensor cores load it: with fewer channels cuDNN's gradient of the first
// weight wants 175 MiB.
std::unique_ptr<Model> make(const Config& config, DeviceKind) {
  constexpr size_t kPixelBytes = 16;
  return std::make_unique<ResNet>(options_of<Options>(config),
                                  int64_t(kPixelBytes / dtype_bytes(precision_of(config.train).storage)));
}

}  // namespace ddp::resnet
