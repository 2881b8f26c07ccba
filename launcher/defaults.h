// What keys become that a command does not give: what the weights say that it starts from.
#pragma once

#include "launcher/cli.h"
#include "runtime/config/config.h"

namespace ddp {

// Of a command that starts from model.init_from: what the config.json of transformers says that lies beside these
// weights, of which a given key must not say otherwise; nothing where there is none. One line on standard error names
// its keys that mean nothing here. Errors: those of load_config, no_input (66), config (78).
Defaults defaults_beside_weights(const TrainOptions& options, const ConfigRegistry& registry);

}  // namespace ddp
