#include "runtime/base/run_files.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>

namespace ddp {
namespace {

constexpr std::string_view kStepPrefix = "step-";

}  // namespace

std::string step_name(int64_t step) { return fmt::format("{}{:08}", kStepPrefix, step); }

int64_t step_of_name(std::string_view name) {
  int64_t step = -1;
  if (!name.starts_with(kStepPrefix)) return -1;
  std::from_chars(name.data() + kStepPrefix.size(), name.data() + name.size(), step);
  return step >= 0 && name == step_name(step) ? step : -1;
}

bool is_run_file(std::string_view name) {
  constexpr std::array<std::string_view, 11> kNames = {".lock",         "checkpoints",  "config.yaml",  "logs",
                                                       kMetricsFile,    "resumed_from", "status.json",  "train.index",
                                                       "train.checked", "valid.index",  "valid.checked"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

bool is_checkpoint_folder(std::string_view name) {
  return step_of_name(name) >= 0 || name == kBestName || name.starts_with(kAbandonedPrefix) || name.starts_with('.');
}

}  // namespace ddp
