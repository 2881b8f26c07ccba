// `ddp-launch eval` from the command to its exit code: which weights and which configuration, the ranks, their
// supervision, the result. A run's folder is only read.
#pragma once

#include "launcher/cli.h"
#include "launcher/signals.h"
#include "launcher/supervisor.h"
#include "runtime/config/registry.h"

namespace ddp {

// Prints the result on standard output, all else on standard error. A signal that asks for an end ends it at once,
// since there is nothing to commit. Errors: all that is found before the first fork, os_resource (71) when the ranks
// cannot be started, io (74) when the result cannot be printed.
Outcome run_evaluation(const Command& command, const ConfigRegistry& registry, int64_t launched_ns,
                       const Signals& signals);

}  // namespace ddp
