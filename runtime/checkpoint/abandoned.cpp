#include "runtime/checkpoint/abandoned.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <ranges>
#include <string>
#include <vector>

#include "runtime/base/clock.h"
#include "runtime/base/error.h"
#include "runtime/base/fs.h"
#include "runtime/base/run_files.h"
#include "runtime/checkpoint/checkpoint.h"

namespace ddp {
namespace {

namespace fs = std::filesystem;

// A new folder: two starts within a second must not share one.
fs::path create_abandoned(const fs::path& folder, int64_t step) {
  const std::string name = fmt::format("{}{}-{}", kAbandonedPrefix, step, utc_text("%Y%m%dT%H%M%SZ"));
  std::error_code error;
  for (int n = 1; !error; ++n) {
    const fs::path path = folder / (n == 1 ? name : fmt::format("{}-{}", name, n));
    if (fs::create_directory(path, error)) return path;
  }
  throw Error(ExitCode::io, fmt::format("cannot create {}: {}", (folder / name).string(), error.message()));
}

int64_t bytes_in(const fs::path& folder) {
  int64_t bytes = 0;
  std::error_code ignored;  // the size is told to people, no more
  for (fs::recursive_directory_iterator at(folder, ignored), end; !ignored && at != end; at.increment(ignored))
    if (at->is_regular_file(ignored)) bytes += int64_t(at->file_size(ignored));
  return bytes;
}

struct Later {
  std::vector<Checkpoint> checkpoints;  // oldest first
  std::optional<Checkpoint> best;
  bool empty() const { return checkpoints.empty() && !best; }
  bool is_second_name() const {  // `best`, where it is
    return std::ranges::any_of(checkpoints, [this](const Checkpoint& c) { return c.step == best->step; });
  }
};

Later find_later(const fs::path& folder, int64_t step) {
  Later later{.checkpoints = list_checkpoints(folder), .best = find_best(folder)};
  std::erase_if(later.checkpoints, [step](const Checkpoint& c) { return c.step <= step; });
  if (later.best && later.best->step <= step) later.best.reset();
  return later;
}

}  // namespace

bool has_later_checkpoints(const fs::path& folder, int64_t step) { return !find_later(folder, step).empty(); }

std::optional<Abandoned> abandon_later_checkpoints(const fs::path& folder, int64_t step, std::string_view metrics) {
  const Later later = find_later(folder, step);
  if (later.empty()) return std::nullopt;
  Abandoned left{.folder = create_abandoned(folder, step)};
  try {
    if (!metrics.empty()) write_text_atomically(left.folder / kMetricsFile, metrics);
  } catch (const Error&) {
    std::error_code ignored;
    fs::remove(left.folder, ignored);  // it is empty
    throw;
  }
  // The newest first: a start that comes after half of it sees a shorter past, never one with a hole.
  const auto move = [&](const Checkpoint& c, bool counts) {
    const fs::path place = left.folder / c.path.filename();
    rename_path(c.path, place);
    if (!counts) return;
    ++left.num_checkpoints;
    left.bytes += bytes_in(place);
  };
  std::ranges::for_each(later.checkpoints | std::views::reverse, [&](const Checkpoint& c) { move(c, true); });
  if (later.best) move(*later.best, !later.is_second_name());
  sync_folder(left.folder);
  sync_folder(folder);
  return left;
}

std::optional<AbandonedPast> abandoned_past(const fs::path& checkpoint, const fs::path& folder) {
  std::error_code none;
  const fs::path abandoned = fs::canonical(checkpoint, none).parent_path();
  const std::string name = abandoned.filename().string();
  if (none || !name.starts_with(kAbandonedPrefix) || !fs::equivalent(abandoned.parent_path(), folder, none))
    return std::nullopt;
  int64_t step = -1;
  std::from_chars(name.data() + kAbandonedPrefix.size(), name.data() + name.size(), step);
  if (step < 0) return std::nullopt;
  return AbandonedPast{.forked_at = step, .metrics = abandoned / kMetricsFile};
}

}  // namespace ddp
