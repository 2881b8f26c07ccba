// What keys become that a command does not give: what the files say that it starts from.
#pragma once

#include "launcher/cli.h"
#include "runtime/config/config.h"

namespace ddp {

// The configuration of `run`, `plan` and `eval` of a YAML file. Where it starts from model.init_from and config.json of
// transformers lies beside these weights, that says what is not given, and what is given must agree with it; of keys of
// that file which mean nothing here one line on standard error tells. Errors: no_input (66), config (78).
Config load_command_config(const TrainOptions& options, const ConfigRegistry& registry);

}  // namespace ddp
