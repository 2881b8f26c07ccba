// What an exception that reached the end of a program means to its user: an exit code and one line.
#pragma once

#include <string>

#include "runtime/base/exit_codes.h"

namespace ddp {

struct Caught {
  ExitCode code;
  std::string text;
};

// Of the exception that is being handled. An Error has both; memory, threads and descriptors that ran out in code that
// is not ours are os_resource (71); all else is internal (70).
Caught caught();

// The same, told on standard error as of ddp-launch; returns the exit code.
int tell_caught();

}  // namespace ddp
