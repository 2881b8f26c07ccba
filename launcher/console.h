// What the user sees: lines on stdout, messages on stderr, and at most one transient status line that is redrawn in
// place on a terminal. Never blocks and never fails: a reader that is slow, stopped (less) or gone (EPIPE), or a file
// on a full disk, must not stall supervision or end a training run. What finds no room waits, up to a bound; what a
// slow reader misses is in the log files.
#pragma once

#include <string>
#include <string_view>

namespace ddp {

class Console {
 public:
  // Descriptors to write to; tests pass pipes. `plain`: a terminal is treated as a file is.
  Console(int out_fd, int err_fd, bool plain = false);
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;
  ~Console();  // clears the status line, gives the reader a last second, and says what a full disk did not take

  bool is_terminal() const { return is_terminal_; }
  void line(std::string_view text);     // to stdout, newline added
  void fields(std::string_view text);   // the same; a terminal is shown as many of its fields as fit in a row
  void message(std::string_view text);  // to stderr, newline added
  void status(std::string_view text);   // replaces the transient line; ignored where stdout is no terminal
  void flush();                         // as much as the reader takes; called at each tick too
  void clear();                         // takes the transient line off the screen, which a shell is about to use
  void redraw();                        // and puts it there again

 private:
  // A descriptor, and what was accepted for it and not yet taken.
  struct Outlet {
    int fd;
    std::string pending;
    size_t num_dropped = 0;  // lines that found no room
    bool gone = false;       // the reader closed its end
    int trouble = 0;         // the errno of a disk that takes no more for now

    bool has_room_for(std::string_view text) const;
    bool write_some();                // false: no more for now
    void write_all(int patience_ms);  // as much as is taken without waiting longer than that for each piece
    size_t num_missing() const;       // lines
  };

  void clear_status();
  void draw_status();
  void append(std::string_view text);

  Outlet out_, err_;
  bool is_terminal_;
  bool drawn_ = false;         // the transient line is on the screen
  bool told_trouble_ = false;  // of standard output
  std::string status_;
};

}  // namespace ddp
