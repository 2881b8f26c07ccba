#include "runtime/metrics/console_sink.h"

#include <fmt/core.h>

#include <cmath>
#include <cstdlib>

#include "runtime/base/line_marks.h"
#include "runtime/base/shell_word.h"
#include "runtime/metrics/text.h"

namespace ddp {

std::string eval_text(const EvalRecord& r) {
  std::string text = fmt::format("loss {:.4f}", r.loss);
  if (!std::isnan(r.bits_per_byte)) text += fmt::format(", {:.3f} bits per byte", r.bits_per_byte);
  for (const auto& [name, share] : r.shares) text += fmt::format(", {} {:.2f}%", name, 100 * share);
  return text;
}

ConsoleMode console_mode_from_environment() {
  if (std::getenv("DDP_BOARD_FD") == nullptr) return ConsoleMode::bare;
  const char* tty = std::getenv("DDP_TTY");
  return tty != nullptr && std::string_view(tty) == "1" ? ConsoleMode::terminal : ConsoleMode::plain;
}

ConsoleSink::ConsoleSink(ConsoleMode mode, int64_t log_every, std::FILE* out)
    : mode_(mode), log_every_(log_every), out_(out) {}

void ConsoleSink::start_up(const StartUp& b) {
  line(fmt::format("start-up {} ms: launch {}, rendezvous {}, data {}, first step {}", brief_ms_text(b.total_ms),
                   brief_ms_text(b.launch_ms), brief_ms_text(b.rendezvous_ms), brief_ms_text(b.data_ms),
                   brief_ms_text(b.first_step_ms)));
}

// The most wanted first: a narrow terminal shows the fields that fit.
std::string ConsoleSink::step_text(const StepRecord& r) const {
  const double eta_s = double(r.total_steps - r.step) * step_ms_.value() * 1e-3;
  const std::string computed = std::isnan(r.exposed_comm_ms)
                                   ? ""
                                   : fmt::format("compute {:.1f} comm {:.1f} ", r.compute_ms(), r.exposed_comm_ms);
  return fmt::format(
      "step {}/{}  loss {:.4f}  ETA {}  {} {}/s  lr {:.1e}  norm {:.3g}  {:.1f} ms ({}data {:.1f})  mem {}", r.step,
      r.total_steps, r.loss, duration_text(eta_s), count_text(work_per_s_.value()), r.unit.abbreviation, r.lr,
      r.grad_norm, r.step_ms, computed, r.data_wait_ms, bytes_text(r.memory_bytes));
}

void ConsoleSink::write(const StepRecord& r) {
  step_ms_.add(r.step_ms);
  work_per_s_.add(r.work_per_s());
  if (totals_.first_step == 0) totals_.first_step = r.step;
  totals_.work += r.work;
  totals_.step_ms += r.step_ms;
  totals_.exposed_comm_ms += r.exposed_comm_ms;
  totals_.last = r;

  if (r.skipped)
    line(fmt::format("step {}: skipped, loss scale {} -> {}: {}", r.step, r.loss_scale, r.skipped->next_loss_scale,
                     non_finite_text(r.skipped->tensor, r.skipped->rank)));
  if (r.nothing_counted)
    line(fmt::format("step {}: every target of the global batch is ignored: there is nothing to learn from, no update",
                     r.step));
  const std::string text = step_text(r);
  if ((log_every_ > 0 && r.step % log_every_ == 0) || r.step == r.total_steps) put(kStepMark, text);
  if (mode_ == ConsoleMode::terminal) put(kStatusMark, bar_text(r.step, r.total_steps) + " " + text);
}

void ConsoleSink::write(const EvalRecord& r) {
  last_eval_ = r;
  if (!best_eval_ || std::isnan(best_eval_->loss) || r.loss < best_eval_->loss) best_eval_ = r;
  line(fmt::format("eval at step {}: {}{}", r.step, eval_text(r), r.is_best ? ", the best so far" : ""));
}

void ConsoleSink::write(const ChangeRecord& r) {
  line(fmt::format("from step {} on {}: {} became {}", r.step, r.key, r.before, r.after));
}

void ConsoleSink::checkpoint(int64_t step, int64_t bytes, double ms) {
  line(fmt::format("checkpoint of step {}: {} in {} ms", step, bytes_text(bytes), brief_ms_text(ms)));
}

void ConsoleSink::summary(const RunEnd& end) {
  const StepRecord& last = totals_.last;
  if (totals_.first_step > 0) {
    const double exposed = 100 * totals_.exposed_comm_ms / totals_.step_ms;
    line(fmt::format(
        "{} steps {}-{} of {} in {}: {} {}/s{}", last.step == last.total_steps ? "finished" : "stopped early,",
        totals_.first_step, last.step, last.total_steps, duration_text(end.seconds),
        count_text(totals_.work / totals_.step_ms * 1e3), last.unit.abbreviation,
        std::isnan(exposed) ? "" : fmt::format(", exposed communication {:.1f}% of the step time", exposed)));
    line(fmt::format("  train       loss {:.4f}", last.loss));
  }
  if (last_eval_) line(fmt::format("  eval        {} at step {}", eval_text(*last_eval_), last_eval_->step));
  if (end.best_step == 0 && best_eval_ && best_eval_->step != last_eval_->step)
    line(fmt::format("  best eval   {} at step {}", eval_text(*best_eval_), best_eval_->step));
  line(fmt::format("  metrics     {}", (end.run_folder / "metrics.jsonl").string()));
  if (end.best_step > 0) line(fmt::format("  best        {}, of step {}", end.best.string(), end.best_step));
  if (end.checkpoint.empty()) return;
  line(fmt::format("  checkpoint  {}", end.checkpoint.string()));
  if (end.example_prompt.empty()) return;
  line(fmt::format("  sample      ddp-launch sample {} --prompt \"{}\" --tokens 200",
                   shell_path(end.run_folder.string()), end.example_prompt));
}

void ConsoleSink::line(std::string_view text) { put(kConsoleMark, text); }

void ConsoleSink::put(char mark, std::string_view text) {
  std::string whole = mode_ == ConsoleMode::bare ? "" : std::string(1, mark);
  whole += text;
  whole += '\n';
  std::fwrite(whole.data(), 1, whole.size(), out_);
  std::fflush(out_);
}

}  // namespace ddp
