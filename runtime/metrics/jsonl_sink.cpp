#include "runtime/metrics/jsonl_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "runtime/base/clock.h"
#include "runtime/base/error.h"
#include "runtime/metrics/text.h"

namespace ddp {
namespace {

// Every digit that it takes to read the same double back.
std::string exact(double x) { return std::isfinite(x) ? fmt::format("{:.17g}", x) : "null"; }
std::string rounded(double x) { return std::isfinite(x) ? fmt::format("{:.3f}", x) : "null"; }

// The number behind `key` in a line of ours; `none` where there is none.
template <class Number>
Number number_of(std::string_view line, std::string_view key, Number none) {
  const size_t at = line.find(key);
  Number number = none;
  if (line.starts_with('{') && line.ends_with('}') && at != line.npos)
    std::from_chars(line.data() + at + key.size(), line.data() + line.size(), number);
  return number;
}

// The steps that a line is about, one unless it tells of a gap; -1: it is no line of ours.
using Steps = PatientFile::Tags;
constexpr Steps kNoSteps = {-1, -1};

Steps steps_of(std::string_view line) {
  const auto step = [line](std::string_view key) { return number_of<int64_t>(line, key, -1); };
  if (!line.starts_with(R"({"type":"gap",)")) return {step(R"("step":)"), step(R"("step":)")};
  const Steps gap{step(R"("from":)"), step(R"("to":)")};
  return gap.first >= 0 && gap.first <= gap.last ? gap : kNoSteps;
}

bool is_evaluation(std::string_view line) { return line.starts_with(R"({"type":"eval",)"); }

std::string gap_line(const Steps& missing) {
  return fmt::format(R"({{"type":"gap","from":{},"to":{}}})", missing.first, missing.last);
}

// What a run that goes on after a step keeps of a file.
struct Kept {
  std::string lines;
  size_t end = 0;            // of the last one, in the file
  Steps missing = kNoSteps;  // of the steps up to the resumed one these have no line
};

// Calls each(line, where it ends in the text, newline included) for the whole lines.
template <class Each>
void for_each_line(std::string_view text, const Each& each) {
  for (size_t begin = 0, end = text.find('\n'); end != text.npos; begin = end + 1, end = text.find('\n', begin))
    each(text.substr(begin, end - begin), end + 1);
}

Kept keep_until(std::string_view text, int64_t resumed_step) {
  Kept kept;
  int64_t newest = -1;
  for_each_line(text, [&](std::string_view line, size_t end) {
    const Steps steps = steps_of(line);
    if (steps.first > resumed_step || steps.first < 0) return;
    if (steps.last > resumed_step) {  // a gap from before the resumed step to after it
      kept.missing = {steps.first, resumed_step};
      return;
    }
    kept.lines += line;
    kept.lines += '\n';
    kept.end = end;
    newest = std::max(newest, steps.last);
  });
  // A run that died while lines waited in memory left fewer than its checkpoint counts.
  if (kept.missing.first < 0 && newest >= 0 && newest < resumed_step) kept.missing = {newest + 1, resumed_step};
  return kept;
}

void cut(const std::filesystem::path& path, size_t size) {
  const Fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file || ::ftruncate(file.get(), off_t(size)) != 0)
    throw Error(ExitCode::io, "cannot cut " + path.string() + ": " + errno_text(errno));
}

// Leaves in the file what is kept.
void cut(const std::filesystem::path& path, std::string_view before, const Kept& kept) {
  if (kept.lines == before) return;
  if (!before.starts_with(kept.lines)) {
    try {
      return write_text_atomically(path, kept.lines);
    } catch (const Error&) {  // no room for a copy: what is not ours stays between our lines
    }
  }
  cut(path, kept.end);
}

// `begin` becomes the size of what is kept.
PatientFile continue_file(const std::filesystem::path& path, int64_t resumed_step, int64_t& begin) {
  Kept kept;
  if (std::filesystem::exists(path)) {
    const std::string before = read_text(path);
    if (resumed_step > 0) kept = keep_until(before, resumed_step);
    cut(path, before, kept);
    begin = int64_t(std::filesystem::file_size(path));
  }
  PatientFile file(
      {.open =
           [path] { return Fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0644)); },
       .gap_line = [](const PatientFile::Lost& lost) { return gap_line(lost.tags); }});
  if (!file.is_open() && !is_disk_trouble(file.error()))
    throw Error(ExitCode::io, "cannot open " + path.string() + ": " + errno_text(file.error()));
  if (kept.missing.first >= 0) file.append(gap_line(kept.missing), kept.missing);
  return file;
}

}  // namespace

std::string metrics_lines(std::string_view text, int64_t first_step, int64_t last_step) {
  std::string lines;
  for_each_line(text, [&](std::string_view line, size_t) {
    const Steps steps = steps_of(line);
    const Steps part = {std::max(steps.first, first_step), std::min(steps.last, last_step)};
    if (steps.first < 0 || part.first > part.last) return;
    const bool is_whole = part.first == steps.first && part.last == steps.last;
    lines += (is_whole ? std::string(line) : gap_line(part)) + "\n";
  });
  return lines;
}

std::string json_line(const StepRecord& r) {
  std::string non_finite;
  if (r.skipped)
    non_finite = fmt::format(R"(,"non_finite":"{}","non_finite_rank":{})", r.skipped->tensor,
                             r.skipped->rank >= 0 ? std::to_string(r.skipped->rank) : "null");
  return fmt::format(
      R"({{"type":"step","step":{},"loss":{},"lr":{},"grad_norm":{},"{}_per_s":{},"step_ms":{},"data_wait_ms":{},)"
      R"("exposed_comm_ms":{},"samples_seen":{},"applied_steps":{},"loss_scale":{},"skipped":{}{},"time":"{}"}})",
      r.step, exact(r.loss), exact(r.lr), exact(r.grad_norm), r.unit.plural, rounded(r.work_per_s()),
      rounded(r.step_ms), rounded(r.data_wait_ms), rounded(r.exposed_comm_ms), r.samples_seen, r.applied_steps,
      exact(r.loss_scale), r.skipped.has_value() || r.nothing_counted, non_finite, time_text(r.time_ms));
}

std::string json_line(const EvalRecord& r) {
  std::string shares;
  for (const auto& [name, share] : r.shares) shares += fmt::format(R"(,"{}":{})", name, exact(share));
  return fmt::format(R"({{"type":"eval","step":{},"samples":{},"loss":{},"bits_per_byte":{}{}{},"time":"{}"}})", r.step,
                     r.samples, exact(r.loss), exact(r.bits_per_byte), shares, r.is_best ? R"(,"best":true)" : "",
                     time_text(r.time_ms));
}

std::string json_line(const ChangeRecord& r) {
  return nlohmann::ordered_json{{"type", "change"},   {"step", r.step},   {"key", r.key},
                                {"before", r.before}, {"after", r.after}, {"time", utc_text("%Y-%m-%dT%H:%M:%SZ")}}
      .dump();
}

std::map<int64_t, double> evaluations(const std::filesystem::path& path, std::string_view key, int64_t last_step) {
  std::map<int64_t, double> found;
  if (!std::filesystem::exists(path)) return found;
  const std::string text = read_text(path), quoted = fmt::format("\"{}\":", key);
  for_each_line(text, [&](std::string_view line, size_t) {
    const int64_t step = steps_of(line).first;
    if (is_evaluation(line) && step >= 0 && step <= last_step)
      found[step] = number_of<double>(line, quoted, std::numeric_limits<double>::quiet_NaN());
  });
  return found;
}

bool lacks_evaluation(const std::filesystem::path& path, int64_t step) {
  if (!std::filesystem::exists(path)) return false;
  const std::string text = read_text(path);
  bool is_past = false, is_evaluated = false;
  for_each_line(text, [&](std::string_view line, size_t) {
    const Steps steps = steps_of(line);
    is_past |= !is_evaluation(line) && steps.first <= step && step <= steps.last;
    is_evaluated |= is_evaluation(line) && steps.first == step;
  });
  return is_past && !is_evaluated;
}

JsonlSink::JsonlSink(const std::filesystem::path& path, int64_t resumed_step, Tell tell)
    : tell_(std::move(tell)), file_(continue_file(path, resumed_step, begin_)) {}

void JsonlSink::append(std::string line, int64_t step) {
  file_.append(std::move(line), {step, step});
  tell_changes();
}

void JsonlSink::flush() {
  file_.flush();
  tell_changes();
}

void JsonlSink::conclude() {
  const PatientFile::Lost& lost = file_.give_up();
  if (tell_ && lost.num_lines > 0)
    tell_(fmt::format("warning: metrics.jsonl lacks {} line{}, of steps {} to {}{}", lost.num_lines,
                      lost.num_lines == 1 ? "" : "s", lost.tags.first, lost.tags.last,
                      file_.is_behind() ? ": " + errno_text(file_.error()) : ""));
  else
    tell_changes();
}

void JsonlSink::tell_changes() {
  if (file_.is_behind() == told_behind_) return;
  told_behind_ = file_.is_behind();
  if (!tell_) return;
  tell_(told_behind_ ? fmt::format("warning: metrics.jsonl cannot be written: {}; lines wait in memory",
                                   errno_text(file_.error()))
                     : "metrics.jsonl is written again");
}

}  // namespace ddp
