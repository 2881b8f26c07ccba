// What `ddp-launch eval` prints of an evaluation.
#pragma once

#include <string>

#include "runtime/train/eval_run.h"

namespace ddp {

std::string eval_line(const Evaluation& done);
// An object in one line; what is not known is null. Numbers read back to the same bits.
std::string eval_json(const Evaluation& done);

}  // namespace ddp
