// The models that a configuration may name, as launcher and ranks know them: `NAME::kKind` of each that
// models/meson.build lists. And the keys of earlier versions.
#pragma once

#include "runtime/config/registry.h"

namespace ddp {

const ConfigRegistry& config_registry();

}  // namespace ddp
