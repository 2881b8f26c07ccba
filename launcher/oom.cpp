#include "launcher/oom.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "runtime/base/cgroup.h"

namespace ddp {
namespace {

// The number after `key` in a file of "key number" lines, -1 for none.
int64_t number_after(const std::string& key, const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string name;
  int64_t value = 0;
  while (file >> name >> value)
    if (name == key) return value;
  return -1;
}

}  // namespace

int64_t count_oom_kills() {
  for (const std::filesystem::path& folder : cgroup_folders("memory"))
    for (const char* file : {"memory.events", "memory.oom_control"})  // of version 2, of version 1
      if (const int64_t own = number_after("oom_kill", folder / file); own >= 0) return own;
  const int64_t host = number_after("oom_kill", "/proc/vmstat");
  return host >= 0 ? host : 0;
}

}  // namespace ddp
