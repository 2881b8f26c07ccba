// How long from a command to all its processes past their first barrier, measured from before the exec of the command:
// ddp-launch with the smallest possible rank, with ddp-rank (its libraries included), and mpirun where it is installed.
// mpirun starts /bin/true and is timed to its end: a lower bound, since nothing there calls MPI_Init.
//   launch [RANKS [REPEATS]]
#include <fcntl.h>
#include <fmt/format.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/clock.h"
#include "runtime/base/fs.h"

namespace {

using namespace ddp;

struct Contender {
  std::string name;
  std::vector<std::string> command;
  std::string rank_program;  // DDP_RANK
};

// Runs the command once; the number after "met_ns": in its output ends the measurement, else the command's end does.
// Nothing when it fails.
std::optional<double> time_once(const Contender& contender) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return {};
  const Fd in(ends[0]);
  Fd out(ends[1]);
  std::vector<std::string> words = contender.command;
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  ::setenv("DDP_RANK", contender.rank_program.c_str(), 1);
  const int64_t began = monotonic_ns();
  const pid_t pid = ::fork();
  if (pid < 0) return {};
  if (pid == 0) {
    ::dup2(out.get(), 1);
    ::execvp(argv[0], argv.data());
    ::_exit(127);
  }
  out.reset();
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = ::read(in.get(), buffer, sizeof buffer)) > 0;) text.append(buffer, size_t(n));
  int status = 0;
  ::waitpid(pid, &status, 0);
  const int64_t ended = monotonic_ns();
  if (status != 0) return {};
  constexpr std::string_view kMet = "\"met_ns\":";
  const size_t at = text.find(kMet);
  return ms_between(began, at == std::string::npos ? ended : std::stoll(text.substr(at + kMet.size())));
}

bool installed(const char* program) {
  const std::string path = ::getenv("PATH") == nullptr ? "" : ::getenv("PATH");
  for (size_t at = 0; at <= path.size();) {
    const size_t colon = std::min(path.find(':', at), path.size());
    if (::access((path.substr(at, colon - at) + "/" + program).c_str(), X_OK) == 0) return true;
    at = colon + 1;
  }
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string ranks = argc > 1 ? argv[1] : "4";
  const int repeats = argc > 2 ? std::max(1, ::atoi(argv[2])) : 51;
  const std::vector<std::string> bench = {DDP_LAUNCH_PATH, "bench",    "launch", "--nproc",
                                          ranks,           "--repeat", "1",      "--json"};
  std::vector<Contender> contenders = {{"ddp-launch, smallest rank", bench, FAKE_RANK_PATH}};
  if (::access(DDP_RANK_PATH, X_OK) == 0) contenders.push_back({"ddp-launch, ddp-rank", bench, DDP_RANK_PATH});
  if (installed("mpirun"))
    contenders.push_back(
        {"mpirun /bin/true", {"mpirun", "--allow-run-as-root", "--oversubscribe", "-np", ranks, "/bin/true"}, {}});
  fmt::print("{} ranks, ms from the command to all past the barrier\n{:<28}{:>9}{:>9}{:>9}{:>6}\n", ranks, "", "median",
             "fastest", "slowest", "runs");
  for (const Contender& contender : contenders) {
    std::vector<double> ms;
    const int runs = contender.rank_program.empty() ? std::min(repeats, 5) : repeats;  // the peer takes its time
    for (int i = 0; i < runs; ++i)
      if (const auto once = time_once(contender)) ms.push_back(*once);
    if (ms.empty()) {
      fmt::print("{:<28}  failed\n", contender.name);
      continue;
    }
    std::sort(ms.begin(), ms.end());
    fmt::print("{:<28}{:9.2f}{:9.2f}{:9.2f}{:6}\n", contender.name, ms[ms.size() / 2], ms.front(), ms.back(),
               ms.size());
  }
}
