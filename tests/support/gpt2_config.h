// A configuration of GPT-2 without a file.
#pragma once

#include "models/gpt2/options/options.h"
#include "models/options_registry.h"

namespace ddp::test {

inline Config gpt2_config(const gpt2::Options& options = {}) {
  Config config = initial_config(config_registry(), gpt2::kKind.name);
  config.model.options = options;
  return config;
}

}  // namespace ddp::test
