#include "launcher/console.h"

#include <errno.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/fs.h"

namespace ddp {
namespace {

constexpr size_t kMaxPending = 1 << 20;
constexpr size_t kPiece = 4096;  // PIPE_BUF: a writable pipe takes this much without blocking
constexpr int kPatienceMs = 1000;
constexpr std::string_view kClearLine = "\r\x1b[2K";

bool writable(int fd, int timeout_ms) {
  pollfd p{fd, POLLOUT, 0};
  return ::poll(&p, 1, timeout_ms) == 1;
}

size_t terminal_columns(int fd) {
  winsize size{};
  return ::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

// The longest prefix of at most `columns` characters, and of whole fields where two spaces separate them ("step 1  loss
// 2"); never cuts a UTF-8 sequence. Control characters end it.
std::string_view fit(std::string_view text, size_t columns) {
  size_t n = 0, used = 0;
  for (; n < text.size() && (unsigned char)text[n] >= 0x20; ++n) {
    const bool continuation = ((unsigned char)text[n] & 0xC0) == 0x80;
    if (!continuation && ++used > columns) {
      const size_t gap = text.rfind("  ", n);
      return text.substr(0, gap == std::string_view::npos ? n : gap);
    }
  }
  return text.substr(0, n);
}

}  // namespace

bool Console::Outlet::has_room_for(std::string_view text) const { return pending.size() + text.size() <= kMaxPending; }

bool Console::Outlet::write_some() {
  const ssize_t n = ::write(fd, pending.data(), std::min(pending.size(), kPiece));
  if (n >= 0) {
    pending.erase(0, size_t(n));
    return true;
  }
  const int why = errno;
  if (why == EINTR) return true;
  if (why == EAGAIN) return false;
  if (is_disk_trouble(why) && ::isatty(fd) == 0) {  // of a terminal EIO says that it hung up
    trouble = why;
    return false;
  }
  gone = true;
  pending.clear();
  return false;
}

void Console::Outlet::write_all(int patience_ms) {
  trouble = 0;
  while (!pending.empty() && !gone && writable(fd, patience_ms) && write_some()) {}
}

size_t Console::Outlet::num_missing() const {
  return gone ? 0 : num_dropped + size_t(std::count(pending.begin(), pending.end(), '\n'));
}

Console::Console(int out_fd, int err_fd, bool plain)
    : out_{.fd = out_fd, .pending = {}},
      err_{.fd = err_fd, .pending = {}},
      is_terminal_(!plain && ::isatty(out_fd) == 1) {}

Console::~Console() {
  clear();
  out_.write_all(kPatienceMs);
  if (out_.trouble != 0)
    message("ddp-launch: warning: standard output lacks " + std::to_string(out_.num_missing()) +
            (out_.num_missing() == 1 ? " line: " : " lines: ") + errno_text(out_.trouble));
}

void Console::line(std::string_view text) {
  flush();
  if (!out_.has_room_for(text)) {
    ++out_.num_dropped;
    return;
  }
  clear_status();
  append(text);
  append("\n");
  redraw();
}

void Console::fields(std::string_view text) { line(is_terminal_ ? fit(text, terminal_columns(out_.fd)) : text); }

void Console::message(std::string_view text) {
  clear();
  if (err_.has_room_for(text)) err_.pending += std::string(text) + "\n";
  err_.write_all(kPatienceMs);
  if (err_.trouble == 0) err_.pending.clear();  // nobody listens
  redraw();
}

void Console::status(std::string_view text) {
  if (!is_terminal_ || !out_.has_room_for({})) return;
  clear_status();
  status_ = text;
  redraw();
}

void Console::clear() {
  clear_status();
  flush();
}

void Console::redraw() {
  draw_status();
  flush();
}

void Console::flush() {
  out_.write_all(0);
  err_.write_all(0);
  if (out_.num_dropped > 0 && out_.pending.empty() && !out_.gone) {
    append("(" + std::to_string(out_.num_dropped) + " lines left out here, see the log files)\n");
    out_.num_dropped = 0;
  }
  if (out_.trouble != 0 && !std::exchange(told_trouble_, true))
    message("ddp-launch: warning: standard output cannot be written: " + errno_text(out_.trouble) +
            "; lines wait in memory");
}

void Console::clear_status() {
  if (drawn_) append(kClearLine);
  drawn_ = false;
}

void Console::draw_status() {
  if (status_.empty()) return;
  append(fit(status_, terminal_columns(out_.fd) - 1));
  drawn_ = true;
}

void Console::append(std::string_view text) {
  if (!out_.gone) out_.pending += text;
}

}  // namespace ddp
