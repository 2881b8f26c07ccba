#include "launcher/console.h"

#include <errno.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>

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

Console::Console(int out_fd, int err_fd) : out_fd_(out_fd), err_fd_(err_fd), is_terminal_(::isatty(out_fd) == 1) {}

Console::~Console() {
  clear_status();
  flush();
  while (!pending_.empty() && !gone_ && writable(out_fd_, kPatienceMs)) flush();
}

void Console::line(std::string_view text) {
  flush();
  if (pending_.size() + text.size() > kMaxPending) {
    ++num_dropped_;
    return;
  }
  clear_status();
  append(text);
  append("\n");
  draw_status();
  flush();
}

void Console::message(std::string_view text) {
  clear_status();
  flush();
  const std::string whole = std::string(text) + "\n";
  for (size_t done = 0; done < whole.size() && writable(err_fd_, kPatienceMs);) {
    const ssize_t n = ::write(err_fd_, whole.data() + done, whole.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) break;  // nobody listens
    done += size_t(n);
  }
  draw_status();
  flush();
}

void Console::status(std::string_view text) {
  if (!is_terminal_ || pending_.size() > kMaxPending) return;
  clear_status();
  status_ = text;
  draw_status();
  flush();
}

void Console::flush() {
  while (!pending_.empty() && !gone_ && writable(out_fd_, 0)) {
    const ssize_t n = ::write(out_fd_, pending_.data(), std::min(pending_.size(), kPiece));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n < 0) {
      gone_ = true;
      pending_.clear();
      return;
    }
    pending_.erase(0, size_t(n));
  }
  if (num_dropped_ > 0 && pending_.empty() && !gone_) {
    append("(" + std::to_string(num_dropped_) + " lines left out here, see the log files)\n");
    num_dropped_ = 0;
  }
}

void Console::clear_status() {
  if (drawn_) append(kClearLine);
  drawn_ = false;
}

void Console::draw_status() {
  if (status_.empty()) return;
  append(fit(status_, terminal_columns(out_fd_) - 1));
  drawn_ = true;
}

void Console::append(std::string_view text) {
  if (!gone_) pending_ += text;
}

}  // namespace ddp
