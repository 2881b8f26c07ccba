// Names in a run's folder that launcher and ranks both look for: one spelling, so that the two agree on what is there.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace ddp {

inline constexpr const char* kMetricsFile = "metrics.jsonl";
inline constexpr const char* kModelFile = "model.safetensors";  // of a checkpoint, and of what others publish
inline constexpr const char* kManifestFile = "manifest.json";   // what makes a folder a checkpoint
// checkpoints/best: a second name of the checkpoint of the best evaluation so far (checkpoint.best).
inline constexpr std::string_view kBestName = "best";
inline constexpr std::string_view kAbandonedPrefix = "abandoned-";  // checkpoints/abandoned-<step>-<time>
// A checkpoint that is complete, while the one that replaces it moves in. Hidden, so that no glob meets it.
inline constexpr std::string_view kReplacedPrefix = ".replaced-";

// "step-00000100", the folder of a checkpoint; and the step of exactly such a name, -1 for any other.
std::string step_name(int64_t step);
int64_t step_of_name(std::string_view name);

// Whether a run makes a file or folder of this name: in its folder, and in checkpoints/.
bool is_run_file(std::string_view name);
bool is_checkpoint_folder(std::string_view name);

}  // namespace ddp
