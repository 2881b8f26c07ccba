#include "tests/checkpoint/traced.h"

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>

namespace ddp::test {
namespace {

[[noreturn]] void run_traced(const std::function<void()>& work) {
  if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(2);
  ::raise(SIGSTOP);
  work();
  ::_exit(0);
}

}  // namespace

End run_until_call(int call, const std::function<void()>& work) {
  const pid_t worker = ::fork();
  REQUIRE(worker >= 0);
  if (worker == 0) run_traced(work);
  int status = 0;
  REQUIRE(::waitpid(worker, &status, 0) == worker);
  // Stops come in pairs: entry, exit.
  for (int stop = 0; WIFSTOPPED(status) && stop < 2 * call + 1; ++stop) {
    REQUIRE(::ptrace(PTRACE_SYSCALL, worker, nullptr, nullptr) == 0);
    REQUIRE(::waitpid(worker, &status, 0) == worker);
  }
  if (WIFEXITED(status)) return WEXITSTATUS(status) == 0 ? End::finished : End::untraceable;
  ::kill(worker, SIGKILL);
  REQUIRE(::waitpid(worker, &status, 0) == worker);
  return End::killed;
}

}  // namespace ddp::test
