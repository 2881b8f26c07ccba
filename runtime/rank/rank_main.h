// ddp-rank as a function of what it knows.
#pragma once

#include <span>

#include "runtime/rank/known.h"

namespace ddp {

// `args` with the program's name. Returns the exit code.
int rank_main(std::span<char*> args, const Known& known);

}  // namespace ddp
