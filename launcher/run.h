// A training run from the command to its exit code: check everything that can be checked, start the ranks, supervise,
// report.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/cli.h"
#include "launcher/cuda_search.h"
#include "launcher/devices.h"
#include "launcher/signals.h"
#include "launcher/supervisor.h"
#include "runtime/base/rank_env.h"
#include "runtime/config/config.h"

namespace ddp {

// The configuration of `run` and `plan`, checked against the number of ranks. Prints its notes.
// Errors: no_input (66), config (78).
Config resolve_config(const TrainOptions& train, const Placement& placement, const ConfigRegistry& registry,
                      const Defaults& defaults);

// The configuration's notes, a line each on standard error.
void print_notes(const Config& config);

// Opens the file or folder that `key` names, so that a typing error costs a second and not a rendezvous. Errors:
// no_input (66), os_resource (71) without descriptors.
void check_input(const char* key, const std::string& path, DataPath kind);

// The same of model.init_from, where it is set, and that it seems to be what is read. Errors: as find_weights.
void check_init_from(const Config& config);

// Of the ranks of a job, but for what a training run alone has.
std::vector<RankEnv> rank_environments(const Placement& placement, const Board& board, const Fd& segment,
                                       const CudaChoice& cuda);

// 1 where the threads of all ranks are more than the cores: waits do not spin then.
uint32_t is_oversubscribed(const Config& config, const Placement& placement);

// The command that was typed, once more.
struct CommandAgain {
  std::function<std::string(std::string_view resume)> with_resume;  // another; empty: none
  std::function<std::string(std::string_view keys)> with_accepted;  // a change of these keys, "a,b"
};

// Says and writes how the run ended, and by which command it goes on, before it returns. Errors: all that is found
// before the first fork, and os_resource (71) when the ranks cannot be started.
Outcome run_training(const TrainOptions& train, const ConfigRegistry& registry, const CommandAgain& again,
                     int64_t launched_ns, const Signals& signals);

}  // namespace ddp
