// The signals that the launcher acts on, as a descriptor for its event loop. They are blocked from the first line of
// main, so that one that comes early is kept and not deadly. A manager of jobs, a terminal or a shutdown sends them to
// all processes of a run: there they mean the launcher, and what it starts ignores them.
#pragma once

#include <signal.h>

#include "runtime/base/fs.h"

namespace ddp {

// A signal that was taken.
struct TakenSignal {
  int number = 0;  // 0: none was pending
  bool by_terminal = false;
};

class Signals {
 public:
  // Blocks TERM, PWR, XCPU, USR1, USR2, CONT and, unless they are ignored (nohup, the "&" of a shell without job
  // control), INT, HUP, TSTP, TTIN and TTOU: what a terminal sends is not meant for a program that was started so. QUIT
  // is not taken, and stays as it was. A script that ignores TERM or USR1 so that it outlives what its scheduler sends
  // to all processes of a job wants the checkpoint all the same. Ignores PIPE and XFSZ, whose calls then fail with an
  // error. CHLD gets its default action: where a parent has left it ignored, the kernel throws away how a rank ended.
  //
  // They stay blocked when this object goes: one that comes after the last rank has ended must not end the launcher
  // before it has told how the run ended.
  Signals();
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  const Fd& fd() const { return fd_; }  // a signalfd, non-blocking
  TakenSignal next() const;             // the next pending one
  void restore() const;                 // as it was when the program began, but for XFSZ; before an exec

 private:
  sigset_t old_mask_;
  struct sigaction old_pipe_, old_child_;
  Fd fd_;
};

// Stops this process until somebody continues it, as the stop signal that was taken asks. Returns at once when it was
// continued since; and where a terminal's Ctrl-Z has no shell that could continue it (an orphaned process group, as of
// `ssh -t host ddp-launch`).
void stop_self(const TakenSignal& taken);

// In a child, between fork and exec: ignores what is meant for the launcher, and what would stop one process of a run
// or end it for a file's size; all other signals act by default, and none is blocked. To be called while all are
// blocked, so that there is no moment at which one of them is deadly. Async-signal-safe.
void set_child_signals();

// Blocks all signals, for a fork whose child calls set_child_signals.
class AllSignalsBlocked {
 public:
  AllSignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    ::sigprocmask(SIG_SETMASK, &all, &old_mask_);
  }
  AllSignalsBlocked(const AllSignalsBlocked&) = delete;
  AllSignalsBlocked& operator=(const AllSignalsBlocked&) = delete;
  ~AllSignalsBlocked() { ::sigprocmask(SIG_SETMASK, &old_mask_, nullptr); }

 private:
  sigset_t old_mask_;
};

// Ends this process by `signal` with its default action, so that a shell sees 128+N and stops its script too.
[[noreturn]] void die_of(int signal);

}  // namespace ddp
