#include "runtime/base/run_files.h"

#include <fmt/core.h>

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

}  // namespace ddp
