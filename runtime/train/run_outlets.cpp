#include "runtime/train/run_outlets.h"

#include <fmt/core.h>

#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/fs.h"
#include "runtime/train/leave_later.h"

namespace ddp {
namespace {

ConsoleSink open_console(const RunOutlets::Run& run) {
  std::filesystem::create_directories(run.folder);
  ConsoleSink console(console_mode_from_environment(), run.log_every);
  leave_later(run.folder, run.resume, run.resumed_step, console);
  return console;
}

}  // namespace

RunOutlets::RunOutlets(Run run)
    : run_(std::move(run)),
      console_(open_console(run_)),
      jsonl_(run_.folder / kMetricsFile, run_.resumed_step, [this](const std::string& text) { console_.line(text); }) {
  write_waiting();
}

void RunOutlets::write_config() {
  if (config_written_) return;
  try {
    write_text_atomically(run_.folder / "config.yaml", run_.config_yaml);
    config_written_ = true;
  } catch (const Error& e) {
    if (!std::exchange(config_told_, true))
      console_.warning(fmt::format("{}; it is tried again before each checkpoint", e.what()));
  }
}

void RunOutlets::write_waiting() {
  write_config();
  jsonl_.flush();
}

void RunOutlets::conclude() {
  write_waiting();
  jsonl_.conclude();
  if (!config_written_) console_.warning("the run's folder lacks its config.yaml, which sample needs");
}

}  // namespace ddp
