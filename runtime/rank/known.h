// What a program of this project knows by name. Its main passes it on as a value, so that a test's program is the same
// with a longer list.
#pragma once

#include "models/registry.h"
#include "runtime/config/registry.h"
#include "runtime/data/data_source.h"

namespace ddp {

struct Known {
  const ConfigRegistry& config;
  ModelMakers models;    // of each model of `config`
  SourceMakers sources;  // of each data format of `config`
};

}  // namespace ddp
