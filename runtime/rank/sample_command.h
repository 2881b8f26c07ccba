// `ddp-launch sample`: lets the newest checkpoint of a run write on from a prompt.
#pragma once

#include <span>

#include "runtime/base/exit_codes.h"
#include "runtime/rank/known.h"

namespace ddp {

// --run DIR --prompt TEXT --tokens N --temperature X --top-k K --seed S. Bytes: text in, text out as it is drawn. Token
// files: the prompt is token ids separated by blanks, and so is the output, since a .bin file does not say how its text
// was tokenised.
ExitCode sample_command(std::span<char*> args, const Known& known);

}  // namespace ddp
