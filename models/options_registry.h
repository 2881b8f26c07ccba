// The models that a configuration may name, as launcher and ranks know them. A new one is one line in
// options_registry.cpp, and one in registry.cpp.
#pragma once

#include "runtime/config/registry.h"

namespace ddp {

const ConfigRegistry& config_registry();

}  // namespace ddp
