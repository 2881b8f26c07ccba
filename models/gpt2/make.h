// GPT-2 as a configuration says.
#pragma once

#include <memory>

#include "runtime/config/config.h"
#include "runtime/state/model.h"

namespace ddp::gpt2 {

std::unique_ptr<Model> make(const Config& config, DeviceKind device);

}  // namespace ddp::gpt2
