// What a run leaves behind about itself: the one sentence that ends stderr, and status.json, which says the same to
// programs.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "launcher/console.h"
#include "launcher/devices.h"
#include "launcher/supervisor.h"
#include "runtime/base/error.h"

namespace ddp {

// Whether the same command may do better than one that failed so. A replay is deterministic, and what is wrong in the
// command, the input, the configuration or the output path stays wrong.
bool is_worth_repeating(int exit_code);

// "FAILED rank 2 (cpu 2) step 1841 backward, bucket 4: <cause>; ranks 0,1,3 stopped in 0.4 s; <advice>".
// `advice` says which command goes on ("resume: <command>"). It may be empty.
std::string failure_sentence(const Failure& failure, const Placement& placement, const std::string& advice);

// The sentence of any end but a finished run's, which needs none (empty): failed, stopped on request, stopped at once.
std::string final_sentence(const Outcome& outcome, int64_t step, const Placement& placement, const std::string& advice);

// status.json of a run's folder: state running | finished | stopped | failed, step, pid, started, exit_code, error, and
// for a failure its parts. Always replaced as one. A disk that is full does not end the run: it is told once, and at
// the end if that could not be written.
class StatusFile {
 public:
  StatusFile(const std::filesystem::path& folder, const Placement& placement, Console& console);

  void update(int64_t step, int64_t now_ns);  // writes at most once a second
  void conclude(const Outcome& outcome, int64_t step, const std::string& sentence);
  void undo();  // puts back what was there before, in the place of conclude()

 private:
  void warn(const Error& why, const char* consequence);

  std::filesystem::path path_;
  std::optional<std::string> before_;
  const Placement& placement_;
  Console& console_;
  std::string started_;  // UTC, ISO 8601
  int64_t written_ns_ = 0;
  bool told_ = false;
};

}  // namespace ddp
