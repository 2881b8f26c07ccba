// SIGKILL before each system call of a commit: what had been committed stays, and stays whole.
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/checkpoint/fixture.h"

namespace ddp {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void commit_traced(const fs::path& folder, int64_t step, int64_t keep) {
  test::SmallRun run;
  if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(2);
  ::raise(SIGSTOP);
  write_checkpoint(folder, run.content(step), keep);
  ::_exit(0);
}

enum class End { killed, finished, untraceable };

// Commits in a process of its own, which is killed as it enters system call number `call`.
End commit_until(int call, const fs::path& folder, int64_t step, int64_t keep) {
  const pid_t writer = ::fork();
  REQUIRE(writer >= 0);
  if (writer == 0) commit_traced(folder, step, keep);
  int status = 0;
  REQUIRE(::waitpid(writer, &status, 0) == writer);
  // Stops come in pairs: entry, exit.
  for (int stop = 0; WIFSTOPPED(status) && stop < 2 * call + 1; ++stop) {
    REQUIRE(::ptrace(PTRACE_SYSCALL, writer, nullptr, nullptr) == 0);
    REQUIRE(::waitpid(writer, &status, 0) == writer);
  }
  if (WIFEXITED(status)) return WEXITSTATUS(status) == 0 ? End::finished : End::untraceable;
  ::kill(writer, SIGKILL);
  REQUIRE(::waitpid(writer, &status, 0) == writer);
  return End::killed;
}

TEST_CASE("a writer killed before any of its system calls leaves every earlier checkpoint whole") {
  const bool in_memory = ::access("/dev/shm", W_OK) == 0;  // where an fsync costs nothing, and there are thousands
  const test::TemporaryFolder folder(in_memory ? "/dev/shm" : fs::temp_directory_path());
  const fs::path before = folder.path / "before", checkpoints = folder.path / "checkpoints";
  test::SmallRun run;
  for (int64_t step : {1, 2}) write_checkpoint(before, run.content(step), 2);

  const int64_t step = GENERATE(2, 3);  // replaces step 2, or pushes out step 1
  const int64_t keep = 4 - step;
  End end = End::killed;
  int call = 0;
  for (; end == End::killed; ++call) {
    fs::copy(before, checkpoints, fs::copy_options::recursive);
    end = commit_until(call, checkpoints, step, keep);
    recover_checkpoints(checkpoints);
    INFO("step " << step << ", system call " << call);
    const std::vector<Checkpoint> left = list_checkpoints(checkpoints);
    REQUIRE_FALSE(left.empty());
    CHECK(left.back().step >= 2);
    for (const Checkpoint& c : left) CHECK_NOTHROW(verify_checkpoint(c.path));
    for (const auto& entry : fs::directory_iterator(checkpoints))
      CHECK(entry.path().filename().string().starts_with("step-"));
    fs::remove_all(checkpoints);
  }
  if (end == End::untraceable) {
    WARN("this machine forbids ptrace: not tested");
  } else {
    CHECK(call > 30);
  }
}

}  // namespace
}  // namespace ddp
