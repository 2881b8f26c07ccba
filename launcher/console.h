// What the user sees: lines on stdout, messages on stderr, and at most one transient status line that is redrawn in
// place on a terminal. Never blocks and never fails: a reader that is slow, stopped (less) or gone (EPIPE) must not
// stall supervision or end a training run. What a slow reader misses is in the log files.
#pragma once

#include <string>
#include <string_view>

namespace ddp {

class Console {
 public:
  // Descriptors to write to; tests pass pipes.
  Console(int out_fd, int err_fd);
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;
  ~Console();  // clears the status line and gives the reader a last second

  bool is_terminal() const { return is_terminal_; }
  void line(std::string_view text);     // to stdout, newline added
  void message(std::string_view text);  // to stderr, newline added
  void status(std::string_view text);   // replaces the transient line; ignored where stdout is no terminal
  void flush();                         // as much as the reader takes; called at each tick too

 private:
  void clear_status();
  void draw_status();
  void append(std::string_view text);

  int out_fd_, err_fd_;
  bool is_terminal_;
  bool gone_ = false;   // the reader closed its end
  bool drawn_ = false;  // the transient line is on the screen
  std::string status_;
  std::string pending_;     // accepted, not yet taken by the reader
  size_t num_dropped_ = 0;  // lines that found no room
};

}  // namespace ddp
