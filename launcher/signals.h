// The signals that the launcher acts on, as a descriptor for its event loop. They are blocked from the first line of
// main, so that one that comes early is kept and not deadly.
#pragma once

#include <signal.h>

#include "runtime/base/fs.h"

namespace ddp {

class Signals {
 public:
  // Blocks INT, TERM, USR1 and, unless it is ignored (nohup), HUP; ignores PIPE. CHLD gets its default action: where a
  // parent has left it ignored, the kernel throws away how a rank ended.
  Signals();
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;
  ~Signals() { restore(); }

  const Fd& fd() const { return fd_; }  // a signalfd, non-blocking
  int next() const;                     // the next pending signal, 0 for none
  void restore() const;                 // all as it was when the program began; before an exec

 private:
  sigset_t old_mask_;
  struct sigaction old_pipe_, old_child_;
  Fd fd_;
};

// Ends this process by `signal` with its default action, so that a shell sees 128+N and stops its script too.
[[noreturn]] void die_of(int signal);

}  // namespace ddp
