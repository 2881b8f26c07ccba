// A training run from the command to its exit code: check everything that can be checked, start the ranks, supervise,
// report.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "launcher/cli.h"
#include "launcher/devices.h"
#include "launcher/signals.h"
#include "launcher/supervisor.h"
#include "runtime/config/config.h"

namespace ddp {

// The configuration of `run` and `plan`, checked against the number of ranks. Errors: no_input (66), config (78).
Config resolve_config(const TrainOptions& train, const Placement& placement, const ConfigRegistry& registry);

// The command with another --resume; empty: without one.
using CommandAgain = std::function<std::string(std::string_view resume)>;

// Says and writes how the run ended, and by which command it goes on, before it returns. Errors: all that is found
// before the first fork, and os_resource (71) when the ranks cannot be started.
Outcome run_training(const TrainOptions& train, const ConfigRegistry& registry, const CommandAgain& again,
                     int64_t launched_ns, const Signals& signals);

}  // namespace ddp
