#include "launcher/log_mux.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "launcher/run_folder.h"
#include "runtime/base/error.h"

namespace ddp {
namespace {

std::string printable(std::string_view line) {
  std::string out(line);
  const size_t first = !out.empty() && is_line_mark(out[0]) ? 1 : 0;
  std::replace_if(
      out.begin() + ptrdiff_t(first), out.end(),
      [](char c) { return ((unsigned char)c < 0x20 && c != '\t') || c == '\x7f'; }, '?');
  return out;
}

std::string log_name(size_t rank) { return fmt::format("rank-{}.log", rank); }

}  // namespace

void LineSplitter::feed(std::string_view bytes, const Sink& sink) {
  while (!bytes.empty()) {
    const size_t newline = bytes.find('\n');
    const size_t room = kMaxLineBytes - partial_.size();
    const size_t n = std::min({newline == std::string_view::npos ? bytes.size() : newline, room, bytes.size()});
    partial_ += bytes.substr(0, n);
    bytes.remove_prefix(n);
    const bool ended = !bytes.empty() && bytes.front() == '\n';
    if (ended) bytes.remove_prefix(1);
    if (ended && partial_.ends_with('\r')) partial_.pop_back();
    if (!ended && partial_.size() < kMaxLineBytes) return;
    sink(printable(partial_));
    partial_.clear();
  }
}

void LineSplitter::finish(const Sink& sink) {
  if (!partial_.empty()) sink(printable(partial_));
  partial_.clear();
}

LogMux::LogMux(int num_ranks, Fd logs, Console& console)
    : console_(console), logs_(std::move(logs)), splitters_(size_t(num_ranks)) {
  for (size_t rank = 0; rank < size_t(num_ranks) && logs_; ++rank) {
    const std::string name = log_name(rank);
    struct stat before;
    const bool is_new = ::fstatat(logs_.get(), name.c_str(), &before, AT_SYMLINK_NOFOLLOW) != 0;
    sizes_before_.push_back(is_new ? -1 : int64_t(before.st_size));
    files_.emplace_back(PatientFile::Options{
        .open =
            [folder = logs_.get(), name] {
              return Fd(::openat(folder, name.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0644));
            },
        .gap_line =
            [](const PatientFile::Lost& lost) {
              return fmt::format("({} line{} missing here: the disk was full)", lost.num_lines,
                                 lost.num_lines == 1 ? " is" : "s are");
            },
        .max_waiting_bytes = PatientFile::kMaxWaitingBytes / size_t(num_ranks)});
    if (!files_.back().is_open() && !is_disk_trouble(files_.back().error()))
      throw cannot_create("cannot create logs/" + name, files_.back().error());
  }
}

void LogMux::feed(int rank, std::string_view bytes) {
  splitters_[size_t(rank)].feed(bytes, [&](std::string_view line) { take(rank, line); });
}

void LogMux::finish(int rank) {
  splitters_[size_t(rank)].finish([&](std::string_view line) { take(rank, line); });
}

void LogMux::take(int rank, std::string_view line) {
  if (line.starts_with(kStatusMark)) return console_.status(line.substr(1));
  const char mark = !line.empty() && is_line_mark(line[0]) ? line[0] : '\0';
  if (mark != '\0') line.remove_prefix(1);
  log(rank, line);
  if (mark == kStepMark)
    console_.fields(line);
  else if (mark == kConsoleMark)
    console_.line(line);
  else if (mark != kLogMark)
    console_.line(fmt::format("[rank {}] {}", rank, line));
}

void LogMux::log(int rank, std::string_view line) {
  if (files_.empty()) return;
  files_[size_t(rank)].append(std::string(line));
  tell_changes();
}

void LogMux::flush() {
  for (PatientFile& file : files_) file.flush();
  tell_changes();
}

void LogMux::conclude() {
  bool is_whole = true;
  for (size_t rank = 0; rank < files_.size(); ++rank) {
    PatientFile& file = files_[rank];
    const int64_t n = file.give_up().num_lines;
    if (n == 0) continue;
    is_whole = false;
    console_.message(fmt::format("ddp-launch: warning: logs/rank-{}.log lacks {} line{}{}", rank, n, n == 1 ? "" : "s",
                                 file.is_behind() ? ": " + errno_text(file.error()) : ""));
  }
  if (is_whole) tell_changes();
}

void LogMux::undo() {
  for (size_t rank = 0; rank < sizes_before_.size(); ++rank) {
    const std::string name = log_name(rank);
    if (sizes_before_[rank] < 0) {
      ::unlinkat(logs_.get(), name.c_str(), 0);
      continue;
    }
    const Fd file(::openat(logs_.get(), name.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!file || ::ftruncate(file.get(), off_t(sizes_before_[rank])) != 0)
      console_.message(
          fmt::format("ddp-launch: warning: logs/{} keeps the lines of this start: {}", name, errno_text(errno)));
  }
}

// One line for all files.
void LogMux::tell_changes() {
  const auto behind = std::find_if(files_.begin(), files_.end(), [](const PatientFile& f) { return f.is_behind(); });
  if ((behind != files_.end()) == told_behind_) return;
  told_behind_ = !told_behind_;
  console_.message(told_behind_ ? fmt::format("ddp-launch: warning: logs/rank-{}.log cannot be written: {}; lines wait "
                                              "in memory",
                                              behind - files_.begin(), errno_text(behind->error()))
                                : "ddp-launch: the logs are written again");
}

}  // namespace ddp
