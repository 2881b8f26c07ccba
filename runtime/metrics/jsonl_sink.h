// metrics.jsonl: one line of JSON a step and an evaluation, for plots and comparisons. Losses have 17 digits, so that
// two runs can be compared bit for bit with cmp.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "runtime/base/fs.h"
#include "runtime/metrics/step_record.h"

namespace ddp {

inline constexpr const char* kMetricsFile = "metrics.jsonl";  // in a run's folder

// One line each, without newline; a number that is not finite is null.
std::string json_line(const StepRecord& record);
std::string json_line(const EvalRecord& record);

// Whether the file holds step `step` but no evaluation of it. Errors: 66 where it cannot be read.
bool lacks_evaluation(const std::filesystem::path& path, int64_t step);

class JsonlSink {
 public:
  // Opens `path` for a run that continues after `resumed_step` (0: from the start). Lines of later steps, and what a
  // dying run left of a line, are cut: the file is replaced as one. Errors: 74, and 66 where the old file cannot be
  // read.
  JsonlSink(const std::filesystem::path& path, int64_t resumed_step);
  // Appends a whole line. Errors: 74; then nothing of the line is in the file.
  void write(const StepRecord& record) { append(json_line(record)); }
  void write(const EvalRecord& record) { append(json_line(record)); }

 private:
  void append(std::string line);

  std::filesystem::path path_;
  Fd file_;
  int64_t size_ = 0;
};

}  // namespace ddp
