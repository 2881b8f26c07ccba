// From a configuration to a model.
#pragma once

#include <memory>

#include "runtime/config/config.h"
#include "runtime/state/model.h"

namespace ddp {

// A model as it runs on a device of this kind in the precision of config.train. Errors: 78 for an unknown model name
// (check_config has caught it before).
std::unique_ptr<Model> make_model(const Config& config, DeviceKind device = DeviceKind::cpu);

}  // namespace ddp
