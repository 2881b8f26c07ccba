// The configuration of the toy model, which only test programs know.
#pragma once

#include "runtime/config/config.h"

namespace ddp::toy {

struct Options {
  int64_t features = 6, width = 16, classes = 7;
};

extern const ModelKind kKind;

// The product's registry with one model and one data format more: a list is all it takes.
const ConfigRegistry& config_registry();

}  // namespace ddp::toy
