// A training run from the command to its exit code: check everything that can be checked, start the ranks, supervise,
// report.
#pragma once

#include <string>

#include "launcher/cli.h"
#include "launcher/devices.h"
#include "launcher/signals.h"
#include "launcher/supervisor.h"
#include "runtime/config/config.h"

namespace ddp {

// The configuration of `run` and `plan`, checked against the number of ranks. Errors: 66, 78.
Config resolve_config(const TrainOptions& train, const Placement& placement);

// `resume` is the command that would go on with the run. Says and writes how the run ended before it returns. Errors:
// all that is found before the first fork, and 71 when the ranks cannot be started.
Outcome run_training(const TrainOptions& train, const std::string& resume, int64_t launched_ns, const Signals& signals);

}  // namespace ddp
