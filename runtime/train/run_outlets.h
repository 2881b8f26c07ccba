// What rank 0 writes of a run beside checkpoints: metrics.jsonl, the console's lines, config.yaml. A full disk must not
// end the run, which may find room: what cannot be written waits and is tried again.
#pragma once

#include <filesystem>
#include <string>

#include "runtime/metrics/console_sink.h"
#include "runtime/metrics/jsonl_sink.h"

namespace ddp {

class RunOutlets {
 public:
  struct Run {
    std::filesystem::path folder;
    std::string config_yaml;
    std::string resume = "none";  // none | auto | PATH of a checkpoint
    int64_t resumed_step = 0;     // 0: a fresh start
    int64_t log_every = 1;
  };
  // Opens them for a run that goes on after `resumed_step`; later checkpoints and lines are moved away (leave_later.h).
  // Errors: io (74).
  explicit RunOutlets(Run run);
  RunOutlets(const RunOutlets&) = delete;
  RunOutlets& operator=(const RunOutlets&) = delete;

  template <class Record>
  void write(const Record& record) {
    jsonl_.write(record);
    console_.write(record);
  }
  JsonlSink& jsonl() { return jsonl_; }
  ConsoleSink& console() { return console_; }
  // Tries again what waits.
  void write_waiting();
  // The last try; says what is missing.
  void conclude();

 private:
  void write_config();

  Run run_;
  ConsoleSink console_;
  JsonlSink jsonl_;
  bool config_written_ = false, config_told_ = false;
};

}  // namespace ddp
