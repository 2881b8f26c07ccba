// What a start goes on from: the checkpoint, as far as it can be told without reading its tensors, and the
// configuration that it was written with. It is read before anything is entered or started, so that what a run that
// goes on may not change costs nothing; the ranks verify the checkpoint and compare again.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "runtime/config/config.h"

namespace ddp {

struct Past {
  std::filesystem::path checkpoint;
  Config config;
};

// The configuration of a run as a checkpoint keeps it. Whether the manifest is sound is for the ranks to say. Errors:
// no_input (66), data (65).
std::string config_in(const std::filesystem::path& manifest);

// What --resume says, with a PATH as the path of a checkpoint: it may name a run's folder, whose newest it is then.
// Errors: no_input (66) where there is none, config (78) of path_from_text.
std::string resume_source(const std::string& typed);

// `resume` is auto, none, or the path of a checkpoint. Nothing: the run starts afresh. Errors: data (65) where none of
// the checkpoints can be read, no_input (66), config (78).
std::optional<Past> find_past(const std::filesystem::path& run_folder, const std::string& resume,
                              const ConfigRegistry& registry);

// Refuses what a run that goes on may not change, or not without consent. `with_accepted` makes the command that
// consents to the keys "a,b". Errors: config (78) with what to type, either way.
void check_changes(const Past& past, const Config& now, std::span<const std::string> accepted,
                   const std::function<std::string(std::string_view keys)>& with_accepted);

}  // namespace ddp
