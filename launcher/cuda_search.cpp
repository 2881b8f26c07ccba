#include "launcher/cuda_search.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <sstream>
#include <vector>

#include "launcher/signals.h"
#include "runtime/base/clock.h"
#include "runtime/base/fs.h"
#include "runtime/base/text_check.h"

namespace ddp {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kPythonPatienceMs = 10'000;  // a first start from a network folder takes seconds

int wait_for(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
  return status;
}

// Whether the loader itself finds it. In a child, since a library of CUDA is 80 ms and hundreds of MB for good.
bool loader_finds(const std::string& name) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(::dlopen(name.c_str(), RTLD_LAZY | RTLD_LOCAL) != nullptr ? 0 : 1);
  return child > 0 && wait_for(child) == 0;
}

bool is_found(const std::string& name, const CudaLibraryPlaces& places) {
  const std::vector<fs::path> candidates = cuda_library_candidates(name, places);
  return candidates.size() > 1 || loader_finds(name);
}

std::vector<std::string> not_found(const std::vector<std::string>& names, const CudaLibraryPlaces& places) {
  std::vector<std::string> out;
  for (const std::string& name : names)
    if (!is_found(name, places)) out.push_back(name);
  return out;
}

// Starts python3 with stdout on `output`, nothing on stdin and stderr.
pid_t start(const std::string& python, const char* script, const Fd& output) {
  const AllSignalsBlocked blocked;
  const pid_t child = ::fork();
  if (child != 0) return child;
  set_child_signals();  // a Ctrl-C meanwhile is the launcher's to take, and must not look like a missing library
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  ::dup2(null, 0);
  ::dup2(output.get(), 1);
  ::dup2(null, 2);
  ::execlp(python.c_str(), "python3", "-c", script, nullptr);
  ::_exit(1);
}

// Reads to the end of `input`, or as far as it comes until the deadline.
std::string read_until(int64_t deadline_ns, const Fd& input) {
  std::string text;
  std::array<char, 4096> buffer;
  for (;;) {
    const int64_t left_ms = (deadline_ns - monotonic_ns()) / 1'000'000;
    pollfd ready = {input.get(), POLLIN, 0};
    if (left_ms <= 0 || ::poll(&ready, 1, int(left_ms)) <= 0) return text;
    const ssize_t n = ::read(input.get(), buffer.data(), buffer.size());
    if (n <= 0) return text;
    text.append(buffer.data(), size_t(n));
  }
}

// The folders of its sys.path that hold wheels of NVIDIA; none where it does not run.
std::vector<fs::path> site_packages_of(const std::string& python) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return {};
  const Fd input(ends[0]);
  Fd output(ends[1]);
  const pid_t pid = start(python, "import sys; print('\\n'.join(sys.path))", output);
  if (pid < 0) return {};
  output.reset();
  std::istringstream lines(read_until(monotonic_ns() + kPythonPatienceMs * 1'000'000, input));
  ::kill(pid, SIGKILL);  // it is done, or late
  wait_for(pid);
  std::vector<fs::path> out;
  for (std::string line; std::getline(lines, line);)
    if (!line.empty() && !find_text_flaw(line, TextForm::name) && fs::is_directory(fs::path(line) / "nvidia"))
      out.emplace_back(line);
  return out;
}

std::vector<std::string> pythons() {
  std::vector<std::string> out;
  for (const char* variable : {"VIRTUAL_ENV", "CONDA_PREFIX"})
    if (const std::string prefix = plain_variable(variable).value_or(""); !prefix.empty())
      out.push_back(prefix + "/bin/python3");
  out.emplace_back("python3");
  return out;
}

}  // namespace

std::string search_cuda_libraries(const fs::path& rank_program, const OpenedLibraries& opened) {
  const fs::path folder = rank_program.parent_path(), module = cuda_module_path(folder);
  if (!fs::exists(module)) return {};
  CudaLibraryPlaces places = cuda_library_places(folder);
  const std::vector<fs::path> own = places.site_packages;
  const std::vector<std::string> missing = not_found(needed_cuda_libraries(module, opened), places);
  if (missing.empty()) return {};
  for (const std::string& python : pythons()) {
    const std::vector<fs::path> found = site_packages_of(python);
    places.site_packages = own;
    places.site_packages.insert(places.site_packages.end(), found.begin(), found.end());
    if (not_found(missing, places).empty()) {
      std::vector<std::string> names;
      if (const char* given = ::getenv("DDP_SITE_PACKAGES"); given != nullptr) names.emplace_back(given);
      for (const fs::path& site_packages : found) names.push_back(site_packages.string());
      return fmt::format("{}", fmt::join(names, ":"));
    }
  }
  missing_cuda_library(not_found(missing, places).front(), places);
}

}  // namespace ddp
