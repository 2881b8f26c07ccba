// metrics.jsonl: one line of JSON a step, an evaluation and a change of the run, for plots and comparisons. Losses have
// 17 digits, so that two runs can be compared bit for bit with cmp. Lines that were lost, to a full disk, are a line of
// their own:
// {"type":"gap","from":STEP,"to":STEP}, some or all lines about these steps are missing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "runtime/base/patient_file.h"
#include "runtime/base/run_files.h"
#include "runtime/metrics/step_record.h"

namespace ddp {

// One line each, without newline; a number that is not finite is null.
std::string json_line(const StepRecord& record);
std::string json_line(const EvalRecord& record);
std::string json_line(const ChangeRecord& record);  // with the time as it is now

// Whether the file holds step `step`, or a gap there, but no evaluation of it. Errors: no_input (66) where it cannot be
// read.
bool lacks_evaluation(const std::filesystem::path& path, int64_t step);
// `key` ("loss", "top1") of the evaluations up to `last_step`, by their steps, as the file has them; NaN for null.
// Nothing where there is no file. Errors: no_input (66) where it cannot be read.
std::map<int64_t, double> evaluations(const std::filesystem::path& path, std::string_view key, int64_t last_step);
// The whole lines of a metrics.jsonl's `text` about the steps from `first_step` (at least 0) to `last_step`; a
// gap is cut to them.
std::string metrics_lines(std::string_view text, int64_t first_step, int64_t last_step);

class JsonlSink {
 public:
  // Gets a line for people when lines begin to wait, when all are written again, and at the end what is missing.
  using Tell = std::function<void(const std::string& line)>;

  // Opens `path` for a run that continues after `resumed_step` (0: from the start). Lines of later steps, and what a
  // dying run left of a line, are cut; where the lines before the resumed step do not reach it, a gap line follows
  // them. A full disk is no error: cutting needs no room, but for lines of others between ours, which then stay.
  // Tells nothing yet: flush() does. Errors: io (74), and no_input (66) where the old file cannot be read.
  explicit JsonlSink(const std::filesystem::path& path, int64_t resumed_step, Tell tell = {});
  // Appends a line; what cannot be written waits.
  void write(const StepRecord& record) { append(json_line(record), record.step); }
  void write(const EvalRecord& record) { append(json_line(record), record.step); }
  void write(const ChangeRecord& record) { append(json_line(record), record.step); }
  // How many bytes of the file are older than this sink.
  int64_t begin() const { return begin_; }
  void flush();     // tries again what waits
  void conclude();  // the last try; says what is missing

 private:
  void append(std::string line, int64_t step);
  void tell_changes();

  Tell tell_;
  int64_t begin_ = 0;
  PatientFile file_;
  bool told_behind_ = false;
};

}  // namespace ddp
