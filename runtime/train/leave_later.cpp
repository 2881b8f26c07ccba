#include "runtime/train/leave_later.h"

#include <fmt/core.h>

#include <limits>
#include <optional>

#include "runtime/base/fs.h"
#include "runtime/checkpoint/abandoned.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/metrics/jsonl_sink.h"
#include "runtime/metrics/text.h"

namespace ddp {
namespace {

namespace fs = std::filesystem;

std::string text_of(const fs::path& path) { return fs::exists(path) ? read_text(path) : std::string(); }

std::string told(const Abandoned& left, int64_t step, bool with_metrics) {
  const bool one = left.num_checkpoints == 1;
  return fmt::format("{} checkpoint{} of steps after {} ({}) moved{} to {}: not used, and never removed by ddp-launch",
                     left.num_checkpoints, one ? "" : "s", step, bytes_text(left.bytes),
                     with_metrics ? " with the metrics of these steps" : "", left.folder.string());
}

bool is_best(const std::string& resume, const fs::path& checkpoints) {
  std::error_code not_there;
  return fs::equivalent(resume, checkpoints / kBestName, not_there);
}

}  // namespace

void leave_later(const fs::path& run_folder, const std::string& resume, int64_t step, ConsoleSink& console) {
  const fs::path checkpoints = run_folder / "checkpoints", metrics = run_folder / kMetricsFile;
  const std::optional<AbandonedPast> chosen = abandoned_past(resume, checkpoints);
  const int64_t common = chosen ? chosen->forked_at : step;  // up to here the past is the same
  // Under the name of its step too it is the newest, from which --resume auto goes on.
  if (is_best(resume, checkpoints)) link_checkpoint(checkpoints / kBestName, checkpoints / step_name(step));
  if (!chosen && !has_later_checkpoints(checkpoints, common)) return;
  const std::string lines = text_of(metrics);
  const std::string later = metrics_lines(lines, common + 1, std::numeric_limits<int64_t>::max());
  if (const auto left = abandon_later_checkpoints(checkpoints, common, later))
    console.line(told(*left, common, !later.empty()));
  if (!chosen) return;
  write_text_atomically(metrics,
                        metrics_lines(lines, 0, common) + metrics_lines(text_of(chosen->metrics), common + 1, step));
  const fs::path from = fs::canonical(resume);
  link_checkpoint(from, checkpoints / step_name(step));
  if (const auto best = find_best(from.parent_path()); best && best->step <= step)
    link_checkpoint(best->path, checkpoints / kBestName);
}

}  // namespace ddp
