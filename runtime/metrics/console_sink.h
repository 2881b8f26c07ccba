// What people watch while a run trains: a line every log.every steps, and on a terminal one below it that is redrawn
// each step; start-up budget, evaluations, checkpoints and warnings as they come, and a summary at the end. Rank 0 has
// one. Lines for the launcher begin with a mark (runtime/base/line_marks.h).
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "runtime/metrics/step_record.h"

namespace ddp {

enum class ConsoleMode {
  bare,      // no launcher reads this: no marks, plain lines
  plain,     // the launcher's output is no terminal: permanent lines alone
  terminal,  // a transient line every step too
};
// From DDP_BOARD_FD (unset: bare) and DDP_TTY ("1": terminal).
ConsoleMode console_mode_from_environment();

// "loss 1.6359, 2.360 bits per byte".
std::string eval_text(const EvalRecord& record);

// Milliseconds from the command to the end of the first step, and what they went to.
struct StartUp {
  double total_ms = 0, launch_ms = 0, rendezvous_ms = 0, data_ms = 0, first_step_ms = 0;
};

// What only the end of a run knows. `checkpoint` is empty where none was committed.
struct RunEnd {
  double seconds = 0;
  std::filesystem::path run_folder, checkpoint;
  std::string example_prompt;       // what `sample` can go on from; empty: the model writes nothing
  std::filesystem::path best = {};  // the checkpoint of the best evaluation of the run, which was at `best_step`
  int64_t best_step = 0;            // 0: it is not kept
};

class ConsoleSink {
 public:
  // Writes whole lines to `out`, flushed; what cannot be written is lost, and is no reason to stop training.
  ConsoleSink(ConsoleMode mode, int64_t log_every, std::FILE* out = stdout);

  void start_up(const StartUp& budget);
  void write(const StepRecord& record);
  void write(const EvalRecord& record);
  void write(const ChangeRecord& record);
  void checkpoint(int64_t step, int64_t bytes, double ms);
  void warning(std::string_view text) { line("warning: " + std::string(text)); }
  void line(std::string_view text);
  void summary(const RunEnd& end);

 private:
  // Of the steps of this process.
  struct Totals {
    int64_t first_step = 0;
    double work = 0, step_ms = 0, exposed_comm_ms = 0;
    StepRecord last;
  };
  // Of recent steps; the first step of a process is not like the others and counts until the second is known.
  class Recent {
   public:
    void add(double x) { value_ = count_++ < 2 ? x : value_ + kWeight * (x - value_); }
    double value() const { return value_; }

   private:
    static constexpr double kWeight = 0.1;
    double value_ = 0;
    int64_t count_ = 0;
  };

  std::string step_text(const StepRecord& record) const;
  void put(char mark, std::string_view text);

  ConsoleMode mode_;
  int64_t log_every_;
  std::FILE* out_;
  Totals totals_;
  Recent step_ms_, work_per_s_;
  std::optional<EvalRecord> last_eval_, best_eval_;
};

}  // namespace ddp
