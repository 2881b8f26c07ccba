// `ddp-launch plan`: what a run will need, from the dry run, before anything is launched.
#pragma once

#include <span>

#include "runtime/base/exit_codes.h"
#include "runtime/rank/known.h"

namespace ddp {

// --ranks N --device cpu|cuda [--memory BYTES] [--json]; the resolved configuration is on standard input. Prints to
// standard output.
ExitCode plan_command(std::span<char*> args, const Known& known);

}  // namespace ddp
