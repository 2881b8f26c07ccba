#include "launcher/cuda_search.h"

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
#include "runtime/base/cuda_libraries.h"
#include "runtime/base/fs.h"
#include "runtime/base/is_there.h"
#include "runtime/base/text_check.h"

namespace ddp {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kPythonPatienceMs = 10'000;  // a first start from a network folder takes seconds
constexpr size_t kPythonBytes = 1 << 20;       // a sys.path is some hundreds; what starts with Python may print more

int wait_for(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
  return status;
}

// Whether the loader itself finds one that fits. In a child, since a library of CUDA is 80 ms and hundreds of MB for
// good.
bool loader_finds(const std::string& name, const CudaLibraryPlaces& places) {
  const pid_t child = ::fork();
  std::string why_not;
  if (child == 0) ::_exit(try_cuda_library(name, places, why_not) != nullptr ? 0 : 1);
  return child > 0 && wait_for(child) == 0;
}

bool is_found(const std::string& name, const CudaLibraryPlaces& places) {
  const std::vector<fs::path> candidates = cuda_library_candidates(name, places);
  return candidates.size() > 1 || loader_finds(name, places);
}

// As FoundLibrary::place.
std::string place_of(const std::string& name, const CudaLibraryPlaces& places) {
  for (const fs::path& candidate : cuda_library_candidates(name, places))
    if (candidate.has_parent_path() || loader_finds(name, places)) return candidate;
  return {};
}

std::vector<std::string> not_found(const std::vector<std::string>& names, const CudaLibraryPlaces& places) {
  std::vector<std::string> out;
  for (const std::string& name : names)
    if (!is_found(name, places)) out.push_back(name);
  return out;
}

// Starts python3 with stdout on `output`, nothing on stdin and stderr, in a process group of its own: what a name like
// python3 stands for may start others, and all of them are to end.
pid_t start(const std::string& python, const char* script, const Fd& output) {
  const AllSignalsBlocked blocked;
  const pid_t child = ::fork();
  ::setpgid(child, child);  // 0 is the child itself: whichever comes first
  if (child != 0) return child;
  set_child_signals();  // a Ctrl-C meanwhile is the launcher's to take, and must not look like a missing library
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  ::dup2(null, 0);
  ::dup2(output.get(), 1);
  ::dup2(null, 2);
  ::execlp(python.c_str(), "python3", "-c", script, nullptr);
  ::_exit(1);
}

// Reads to the end of `input`, or as far as it comes until the deadline and within kPythonBytes.
std::string read_until(int64_t deadline_ns, const Fd& input) {
  std::string text;
  std::array<char, 4096> buffer;
  for (;;) {
    const int64_t left_ms = (deadline_ns - monotonic_ns()) / 1'000'000;
    pollfd ready = {input.get(), POLLIN, 0};
    if (text.size() > kPythonBytes || left_ms <= 0 || ::poll(&ready, 1, int(left_ms)) <= 0) return text;
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
  ::kill(-pid, SIGKILL);  // it is done, or late
  wait_for(pid);
  std::vector<fs::path> out;
  for (std::string line; std::getline(lines, line);)
    if (!line.empty() && !find_text_flaw(line, TextForm::name) && is_there(fs::path(line) / "nvidia"))
      out.emplace_back(line);
  return out;
}

// Each is asked when it is first wanted, and once.
class Pythons {
 public:
  Pythons() {
    for (const char* variable : {"VIRTUAL_ENV", "CONDA_PREFIX"})
      if (const std::string prefix = plain_variable(variable).value_or(""); !prefix.empty())
        programs_.push_back(prefix + "/bin/python3");
    programs_.emplace_back("python3");
  }

  size_t size() const { return programs_.size(); }
  const std::vector<fs::path>& site_packages(size_t i) {
    if (i == answers_.size()) answers_.push_back(site_packages_of(programs_[i]));
    return answers_[i];
  }

 private:
  std::vector<std::string> programs_;
  std::vector<std::vector<fs::path>> answers_;
};

std::string with_given(const std::vector<fs::path>& site_packages) {
  std::vector<std::string> names;
  if (const char* given = ::getenv("DDP_SITE_PACKAGES"); given != nullptr) names.emplace_back(given);
  for (const fs::path& folder : site_packages) names.push_back(folder.string());
  return fmt::format("{}", fmt::join(names, ":"));
}

}  // namespace

CudaChoice choose_cuda(const fs::path& rank_program, const OpenedLibraries& opened) {
  const fs::path folder = rank_program.parent_path();
  Pythons pythons;
  std::vector<std::string> fewest;
  CudaLibraryPlaces places_of_fewest;
  for (const CudaModule& module : usable_cuda_modules(folder)) {
    CudaLibraryPlaces places = cuda_library_places(folder, module);
    std::vector<std::string> missing = not_found(module.libraries(opened), places);
    if (missing.empty()) return {.module = module.path, .site_packages = {}};
    const std::vector<fs::path> own = places.site_packages;
    for (size_t i = 0; i < pythons.size(); ++i) {
      const std::vector<fs::path>& found = pythons.site_packages(i);
      places.site_packages = own;
      places.site_packages.insert(places.site_packages.end(), found.begin(), found.end());
      std::vector<std::string> still = not_found(missing, places);
      if (still.empty()) return {.module = module.path, .site_packages = with_given(found)};
      if (fewest.empty() || still.size() < fewest.size()) {
        fewest = std::move(still);
        places_of_fewest = places;
      }
    }
  }
  missing_cuda_library(fewest.front(), places_of_fewest);
}

std::vector<FoundLibrary> find_cuda_libraries(const fs::path& rank_program, const CudaModule& module,
                                              const OpenedLibraries& opened) {
  CudaLibraryPlaces places = cuda_library_places(rank_program.parent_path(), module);
  Pythons pythons;
  for (size_t i = 0; i < pythons.size(); ++i)
    for (const fs::path& folder : pythons.site_packages(i)) places.site_packages.push_back(folder);
  std::vector<FoundLibrary> out;
  for (const std::string& name : module.libraries(opened)) out.push_back({name, place_of(name, places)});
  return out;
}

}  // namespace ddp
