#include "runtime/base/crash.h"

#include <execinfo.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <initializer_list>

namespace ddp {
namespace {

void write_text(const char* text) { [[maybe_unused]] const ssize_t n = write(STDERR_FILENO, text, strlen(text)); }

// Async-signal-safe calls only; backtrace() was called once before, so that it need not load libgcc here.
void on_crash(int number) {
  write_text("crashed: signal ");
  write_text(sigdescr_np(number));
  write_text("; addr2line -Cfe ddp-rank shows the lines of:\n");
  void* frames[64];
  backtrace_symbols_fd(frames, backtrace(frames, 64), STDERR_FILENO);
  raise(number);  // the handler is reset: the process dies of it
}

}  // namespace

void print_backtrace_on_crash() {
  void* frame[1];
  backtrace(frame, 1);
  struct sigaction action = {};
  action.sa_handler = on_crash;
  action.sa_flags = int(SA_RESETHAND | SA_NODEFER);
  for (int number : {SIGSEGV, SIGABRT, SIGILL, SIGBUS, SIGFPE}) sigaction(number, &action, nullptr);
}

}  // namespace ddp
