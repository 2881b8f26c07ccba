#include "runtime/metrics/jsonl_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <charconv>
#include <cmath>
#include <string_view>

#include "runtime/base/error.h"

namespace ddp {
namespace {

// Every digit that it takes to read the same double back.
std::string exact(double x) { return std::isfinite(x) ? fmt::format("{:.17g}", x) : "null"; }
std::string rounded(double x) { return std::isfinite(x) ? fmt::format("{:.3f}", x) : "null"; }

// The step that a line is about; -1 when it is no line of ours.
int64_t step_of(std::string_view line) {
  constexpr std::string_view kKey = "\"step\":";
  const size_t at = line.find(kKey);
  int64_t step = -1;
  if (line.starts_with('{') && line.ends_with('}') && at != line.npos)
    std::from_chars(line.data() + at + kKey.size(), line.data() + line.size(), step);
  return step;
}

// The whole lines of `text` about steps up to `last_step`.
std::string lines_until(std::string_view text, int64_t last_step) {
  std::string kept;
  for (size_t end = text.find('\n'); end != text.npos; end = text.find('\n')) {
    const int64_t step = step_of(text.substr(0, end));
    if (step >= 0 && step <= last_step) kept += text.substr(0, end + 1);
    text.remove_prefix(end + 1);
  }
  return kept;
}

}  // namespace

std::string json_line(const StepRecord& r) {
  std::string non_finite;
  if (r.skipped)
    non_finite = fmt::format(R"(,"non_finite":"{}","non_finite_rank":{})", r.skipped->tensor,
                             r.skipped->rank >= 0 ? std::to_string(r.skipped->rank) : "null");
  return fmt::format(
      R"({{"type":"step","step":{},"loss":{},"lr":{},"grad_norm":{},"tokens_per_s":{},"step_ms":{},"data_wait_ms":{},)"
      R"("exposed_comm_ms":{},"samples_seen":{},"applied_steps":{},"loss_scale":{},"skipped":{}{}}})",
      r.step, exact(r.loss), exact(r.lr), exact(r.grad_norm), rounded(r.tokens_per_s()), rounded(r.step_ms),
      rounded(r.data_wait_ms), rounded(r.exposed_comm_ms), r.samples_seen, r.applied_steps, exact(r.loss_scale),
      r.skipped.has_value(), non_finite);
}

std::string json_line(const EvalRecord& r) {
  return fmt::format(R"({{"type":"eval","step":{},"loss":{},"bits_per_byte":{}}})", r.step, exact(r.loss),
                     exact(r.bits_per_byte));
}

bool lacks_evaluation(const std::filesystem::path& path, int64_t step) {
  if (!std::filesystem::exists(path)) return false;
  const std::string text = read_text(path);
  const auto holds = [&](const char* type) {
    return text.find(fmt::format(R"({{"type":"{}","step":{},)", type, step)) != text.npos;
  };
  return holds("step") && !holds("eval");
}

JsonlSink::JsonlSink(const std::filesystem::path& path, int64_t resumed_step) : path_(path) {
  if (std::filesystem::exists(path)) {
    const std::string before = read_text(path);
    const std::string kept = resumed_step > 0 ? lines_until(before, resumed_step) : "";
    if (kept != before) write_text_atomically(path, kept);
    size_ = int64_t(kept.size());
  }
  file_ = Fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!file_) throw Error(ExitCode::io, "cannot open " + path.string() + ": " + errno_text(errno));
}

void JsonlSink::append(std::string line) {
  line += '\n';
  try {
    write_all(file_, std::as_bytes(std::span(line)), path_);
  } catch (const Error&) {
    // A torn line would swallow the next one. If this fails as well, the next start drops the line.
    [[maybe_unused]] const int ignored = ::ftruncate(file_.get(), size_);
    throw;
  }
  size_ += int64_t(line.size());
}

}  // namespace ddp
