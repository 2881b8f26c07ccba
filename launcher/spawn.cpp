#include "launcher/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <utility>

#include "launcher/signals.h"
#include "runtime/base/system_limits.h"

namespace ddp {
namespace {

[[noreturn]] void fail_os(const std::string& what) { throw os_error("cannot " + what, errno); }

// This process's environment with `env` in place of whatever it had under those names.
std::vector<std::string> environment_of(const RankEnv& env) {
  auto own = to_environment(env);
  own.emplace_back("OMP_NUM_THREADS", "1");  // oneDNN is called single-threaded on slices; the pool is ours
  std::vector<std::string> out;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::string_view name = text.substr(0, text.find('='));
    bool replaced = false;
    for (const auto& pair : own) replaced |= pair.first == name;
    if (!replaced) out.emplace_back(text);
  }
  for (const auto& [name, value] : own) out.push_back(name + "=" + value);
  return out;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (std::string& s : strings) out.push_back(s.data());
  out.push_back(nullptr);
  return out;
}

// Everything the child needs, made before the fork: between fork and exec only async-signal-safe calls are allowed.
struct ChildPlan {
  const char* program;
  char** argv;
  char** envp;
  int null_fd, output_fd, board_fd, segment_fd;
  pid_t launcher;
};

// Closes all but the standard streams and these two: also what the launcher's own parent left open. Linux 5.10 has no
// flag yet with which the call would leave closing to the exec.
void keep_only(unsigned a, unsigned b) {
  const auto [low, high] = std::minmax(a, b);
  ::close_range(STDERR_FILENO + 1, low - 1, 0);
  ::close_range(low + 1, high - 1, 0);
  ::close_range(high + 1, ~0u, 0);
}

[[noreturn]] void become_rank(const ChildPlan& plan) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != plan.launcher)
    ::_exit(int(ExitCode::os_resource));  // it died before the prctl: nobody would kill us
  set_child_signals();
  ::dup2(plan.null_fd, 0);
  ::dup2(plan.output_fd, 1);
  ::dup2(plan.output_fd, 2);
  keep_only(unsigned(plan.board_fd), unsigned(plan.segment_fd));
  ::fcntl(plan.board_fd, F_SETFD, 0);
  ::fcntl(plan.segment_fd, F_SETFD, 0);
  ::execve(plan.program, plan.argv, plan.envp);
  constexpr char kText[] = "cannot execute the rank's program\n";
  [[maybe_unused]] const ssize_t n = ::write(2, kText, sizeof kText - 1);
  ::_exit(int(ExitCode::os_resource));
}

RankProcess start(const std::filesystem::path& program, const RankEnv& env, int null_fd) {
  std::vector<std::string> args = {"ddp-rank"}, variables = environment_of(env);
  std::vector<char*> argv = pointers(args), envp = pointers(variables);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) fail_os("create a pipe");
  RankProcess rank;
  rank.log = Fd(ends[0]);
  const Fd output(ends[1]);
  ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
  const ChildPlan plan = {program.c_str(), argv.data(),  envp.data(),    null_fd,
                          output.get(),    env.board_fd, env.segment_fd, ::getpid()};
  const AllSignalsBlocked blocked;
  rank.pid = ::fork();
  if (rank.pid < 0) fail_os(fmt::format("fork rank {}", env.rank));
  if (rank.pid == 0) become_rank(plan);
  ::setpgid(rank.pid, rank.pid);  // here too: whoever comes first, the group exists from now on
  rank.pidfd = Fd(int(::syscall(SYS_pidfd_open, rank.pid, 0)));
  return rank;
}

}  // namespace

RankGroup::RankGroup(const std::filesystem::path& program, const std::vector<RankEnv>& envs, Board& board) {
  const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null) fail_os("open /dev/null");
  ranks_.reserve(envs.size());
  try {
    for (const RankEnv& env : envs) {
      ranks_.push_back(start(program, env, null.get()));
      if (!ranks_.back().pidfd) fail_os("open a pidfd");
      board->ranks[size_t(env.rank)].pid.store(uint32_t(ranks_.back().pid), std::memory_order_relaxed);
    }
  } catch (...) {
    end_all();
    throw;
  }
}

void RankGroup::end_all() {
  kill_all();
  for (int rank = 0; rank < size(); ++rank)
    if (ranks_[size_t(rank)].alive) reap(rank);
}

int RankGroup::reap(int rank) {
  RankProcess& process = ranks_[size_t(rank)];
  siginfo_t info;
  while (::waitid(P_PID, id_t(process.pid), &info, WEXITED | WNOWAIT) != 0 && errno == EINTR) {}
  ::kill(-process.pid, SIGKILL);  // its children; the pid cannot be another's while the rank is a zombie
  int status = 0;
  while (::waitpid(process.pid, &status, 0) < 0 && errno == EINTR) {}
  process.alive = false;
  return status;
}

void RankGroup::kill_all() {
  for (const RankProcess& process : ranks_)
    if (process.alive) ::kill(-process.pid, SIGKILL);
}

void RankGroup::suspend() {
  for (int rank = 0; rank < size(); ++rank) {
    RankProcess& process = ranks_[size_t(rank)];
    process.suspended = process.alive && !is_stopped(rank);
    if (process.suspended) ::kill(-process.pid, SIGSTOP);
  }
}

void RankGroup::resume() {
  for (RankProcess& process : ranks_)
    if (std::exchange(process.suspended, false)) ::kill(-process.pid, SIGCONT);
}

bool RankGroup::is_stopped(int rank) const {
  const RankProcess& process = ranks_[size_t(rank)];
  siginfo_t info = {};
  return process.alive && ::waitid(P_PIDFD, id_t(process.pidfd.get()), &info, WSTOPPED | WNOHANG | WNOWAIT) == 0 &&
         info.si_pid != 0;
}

int64_t RankGroup::io_bytes(int rank) const {
  std::ifstream counters(fmt::format("/proc/{}/io", ranks_[size_t(rank)].pid));
  std::string name;
  int64_t read = 0, written = 0;
  counters >> name >> read >> name >> written;  // rchar: N, wchar: N
  return read + written;
}

Fd create_segment() {
  Fd fd(::memfd_create("ddp-segment", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) fail_os("create the collectives' segment");
  ::fchmod(fd.get(), 0600);
  return fd;
}

void exec_program(const std::filesystem::path& program, const std::vector<std::string>& args, Fd input) {
  std::vector<std::string> all = {"ddp-rank"};
  all.insert(all.end(), args.begin(), args.end());
  if (input) ::dup2(input.get(), 0);
  ::setenv("OMP_NUM_THREADS", "1", 1);
  ::execv(program.c_str(), pointers(all).data());
  fail_os("execute " + program.string());
}

Fd text_as_input(std::string_view text) {
  Fd fd(::memfd_create("ddp-input", MFD_CLOEXEC));
  if (!fd) fail_os("create a memory file");
  errno = ::posix_fallocate(fd.get(), 0, off_t(text.size()));
  if (errno != 0) fail_os("reserve a memory file");
  write_all(fd, std::as_bytes(std::span(text)), "a memory file");
  ::lseek(fd.get(), 0, SEEK_SET);
  return fd;
}

}  // namespace ddp
