// ddp-launch as a function of what its configurations may name: a test's program is the same with a longer list.
#pragma once

#include "runtime/config/registry.h"

namespace ddp {

// Returns the exit code, if at all: plan and sample become ddp-rank.
int launcher_main(int argc, char** argv, const ConfigRegistry& registry);

}  // namespace ddp
