#include "launcher/rank_program.h"

#include <errno.h>
#include <fmt/format.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "runtime/base/error.h"
#include "runtime/base/fs.h"

namespace ddp {
namespace {

// One type alone may have any name (native, znver4): ddp-rank itself refuses a machine that lacks it.
bool this_processor_runs(std::string_view arch) {
  const bool v4 = __builtin_cpu_supports("x86-64-v4");
  if (arch == "x86-64-v3") return __builtin_cpu_supports("x86-64-v3");
  if (arch == "x86-64-v4") return v4;
  if (arch == "x86-64-v4+avx512bf16") return v4 && __builtin_cpu_supports("avx512bf16");
  return true;
}

std::optional<std::filesystem::path> first_executable(const std::vector<std::filesystem::path>& folders,
                                                      const std::vector<std::string>& names) {
  for (const std::string& name : names)
    for (const std::filesystem::path& folder : folders)
      if (::access((folder / name).c_str(), X_OK) == 0) return folder / name;
  return std::nullopt;
}

}  // namespace

std::vector<std::string> rank_programs(std::string_view archs, const std::function<bool(std::string_view)>& runs) {
  std::vector<std::string> names;
  const std::string_view least = archs.substr(0, archs.find(','));
  for (bool is_least = true; !archs.empty(); is_least = false) {
    const std::string_view arch = archs.substr(0, archs.find(','));
    archs.remove_prefix(std::min(arch.size() + 1, archs.size()));
    if (!runs(arch)) continue;
    names.push_back(is_least ? "ddp-rank" : fmt::format("ddp-rank-{}", arch));
    std::replace(names.back().begin(), names.back().end(), '+', '-');
  }
  if (names.empty())
    throw Error(ExitCode::os_resource, fmt::format("this processor is older than {}, which ddp-launch needs", least),
                least == "x86-64-v3" ? "use one with AVX2 and FMA (Intel since 2013, AMD since 2015)" : "");
  std::reverse(names.begin(), names.end());
  return names;
}

std::filesystem::path find_rank_program() {
  if (const char* given = ::getenv("DDP_RANK"); given != nullptr) {
    if (::access(given, X_OK) == 0) return given;
    throw Error(ExitCode::os_resource, fmt::format("cannot execute {}: {}", given, errno_text(errno)),
                "let DDP_RANK name a ddp-rank, or leave it out");
  }
  const std::filesystem::path folder = program_folder();
  const std::filesystem::path in_build = folder.parent_path() / "runtime" / "rank";
  if (auto program = first_executable({folder, in_build}, rank_programs(DDP_CPU_ARCHS, this_processor_runs)))
    return *program;
  throw Error(ExitCode::os_resource, fmt::format("no ddp-rank in {}", folder.string()),
              "build it, or let DDP_RANK name one");
}

}  // namespace ddp
