// From a configuration to a model.
#pragma once

#include <memory>

#include "runtime/config/config.h"
#include "runtime/state/model.h"

namespace ddp {

// Errors: 78 for an unknown model name (check_config has caught it before).
std::unique_ptr<Model> make_model(const ModelConfig& config);

}  // namespace ddp
