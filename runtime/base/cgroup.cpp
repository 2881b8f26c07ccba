#include "runtime/base/cgroup.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

#include "runtime/base/number.h"

namespace ddp {
namespace {

namespace fs = std::filesystem;

// A file of one line of words; no words where it cannot be read.
std::vector<std::string> words_of(const fs::path& file) {
  std::ifstream in(file);
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(std::move(word));
  return words;
}

// The i-th word of such a file, where it is a number ("max" is none).
std::optional<int64_t> number_in(const fs::path& file, size_t i = 0) {
  const std::vector<std::string> words = words_of(file);
  return i < words.size() ? parse_number<int64_t>(words[i]) : std::nullopt;
}

bool lists(std::string_view controllers, std::string_view controller) {
  for (;;) {
    const size_t comma = controllers.find(',');
    if (controllers.substr(0, comma) == controller) return true;
    if (comma == std::string_view::npos) return false;
    controllers.remove_prefix(comma + 1);
  }
}

// `mount` / `path` and the folders above it, down to `mount` itself.
void add_with_ancestors(const fs::path& mount, const fs::path& path, std::vector<fs::path>& folders) {
  for (fs::path inner = path.lexically_normal().relative_path(); !inner.empty(); inner = inner.parent_path())
    folders.push_back(mount / inner);
  folders.push_back(mount);
}

}  // namespace

std::vector<fs::path> cgroup_folders(std::string_view controller, const CgroupPlaces& places) {
  std::vector<fs::path> folders;
  std::ifstream membership(places.membership);
  for (std::string line; std::getline(membership, line);) {  // hierarchy:controllers:path
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1), path = line.substr(second + 1);
    if (controllers.empty()) {  // version 2, which beside version 1 has a mount of its own
      add_with_ancestors(places.root, path, folders);
      add_with_ancestors(places.root / "unified", path, folders);
    } else if (lists(controllers, controller)) {
      add_with_ancestors(places.root / controller, path, folders);
      if (controllers != controller) add_with_ancestors(places.root / controllers, path, folders);
    }
  }
  return folders;
}

std::optional<int> cores_of_quota(const CgroupPlaces& places) {
  std::optional<int> fewest;
  const auto consider = [&](std::optional<int64_t> quota_us, std::optional<int64_t> period_us) {
    if (!quota_us || !period_us || *quota_us <= 0 || *period_us <= 0) return;
    const int64_t cores = (*quota_us - 1) / *period_us + 1;
    fewest = int(std::min<int64_t>(cores, fewest.value_or(std::numeric_limits<int>::max())));
  };
  for (const fs::path& folder : cgroup_folders("cpu", places)) {
    consider(number_in(folder / "cpu.max", 0), number_in(folder / "cpu.max", 1));
    consider(number_in(folder / "cpu.cfs_quota_us"), number_in(folder / "cpu.cfs_period_us"));
  }
  return fewest;
}

std::optional<TaskLimit> reached_task_limit(const CgroupPlaces& places) {
  for (const fs::path& folder : cgroup_folders("pids", places)) {
    const std::optional<int64_t> most = number_in(folder / "pids.max"), now = number_in(folder / "pids.current");
    if (most && now && *now >= *most) return TaskLimit{folder / "pids.max", *most};
  }
  return std::nullopt;
}

}  // namespace ddp
