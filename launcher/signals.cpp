#include "launcher/signals.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "runtime/base/system_limits.h"

namespace ddp {
namespace {

// What a process that the launcher starts ignores: all that the launcher takes, and QUIT, ALRM and XFSZ.
constexpr std::array kIgnoredByChildren = {SIGINT,  SIGTERM, SIGHUP,  SIGPWR,  SIGXCPU, SIGUSR1, SIGUSR2,
                                           SIGTSTP, SIGTTIN, SIGTTOU, SIGQUIT, SIGALRM, SIGXFSZ};

constexpr timespec kSettleTime = {.tv_sec = 0, .tv_nsec = 37'000'000};

struct sigaction action_of(void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  return action;
}

bool is_ignored(int signal) {
  struct sigaction action;
  return ::sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

// Waits for a CONT, which is blocked, for as long as one may come that belongs to a stop signal just taken.
bool is_continued_at_once() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCONT);
  return ::sigtimedwait(&set, nullptr, &kSettleTime) == SIGCONT;
}

// `signal`, which is blocked, acts by default now: once, also where it is pending already.
void let_act(int signal) {
  const struct sigaction standard = action_of(SIG_DFL);
  ::sigaction(signal, &standard, nullptr);
  ::raise(signal);
  sigset_t set, old_mask;
  sigemptyset(&set);
  sigaddset(&set, signal);
  ::sigprocmask(SIG_UNBLOCK, &set, &old_mask);
  ::sigprocmask(SIG_SETMASK, &old_mask, nullptr);
}

}  // namespace

Signals::Signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGPWR, SIGXCPU, SIGUSR1, SIGUSR2, SIGCONT}) sigaddset(&set, signal);
  for (const int signal : {SIGINT, SIGHUP, SIGTSTP, SIGTTIN, SIGTTOU})
    if (!is_ignored(signal)) sigaddset(&set, signal);
  ::sigprocmask(SIG_BLOCK, &set, &old_mask_);
  const struct sigaction ignore = action_of(SIG_IGN), standard = action_of(SIG_DFL);
  ::sigaction(SIGPIPE, &ignore, &old_pipe_);
  ::sigaction(SIGXFSZ, &ignore, nullptr);  // a write at a size limit fails with EFBIG, for what is executed too
  ::sigaction(SIGCHLD, &standard, &old_child_);
  fd_ = Fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd_) throw os_error("cannot create a signalfd", errno);
}

TakenSignal Signals::next() const {
  signalfd_siginfo info;
  if (::read(fd_.get(), &info, sizeof info) != sizeof info) return {};
  return {int(info.ssi_signo), info.ssi_code == SI_KERNEL};
}

void Signals::restore() const {
  ::sigaction(SIGPIPE, &old_pipe_, nullptr);
  ::sigaction(SIGCHLD, &old_child_, nullptr);
  ::sigprocmask(SIG_SETMASK, &old_mask_, nullptr);
}

// A stop signal takes a CONT that is still pending with it, and a process that stops itself cannot do so "unless it was
// continued": a CONT between the look and the stop is lost, and a program that sends TSTP and CONT in a row would meet
// that microsecond. So what comes at once is waited for. The kernel ignores a TSTP, but no STOP, in a process group
// that no shell watches.
void stop_self(const TakenSignal& taken) {
  if (is_continued_at_once()) return;
  if (taken.by_terminal)
    let_act(taken.number);
  else
    ::raise(SIGSTOP);
}

void set_child_signals() {
  const struct sigaction ignore = action_of(SIG_IGN), standard = action_of(SIG_DFL);
  for (int signal = 1; signal < NSIG; ++signal) {
    const bool is_ignored =
        std::find(kIgnoredByChildren.begin(), kIgnoredByChildren.end(), signal) != kIgnoredByChildren.end();
    ::sigaction(signal, is_ignored ? &ignore : &standard, nullptr);
  }
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

void die_of(int signal) {
  let_act(signal);
  ::_exit(128 + signal);  // not reached for a signal whose default is to end
}

}  // namespace ddp
