#include "launcher/oom.h"

#include <fstream>
#include <string>

namespace ddp {
namespace {

// The number after `key` in a file of "key number" lines, -1 for none.
int64_t number_after(const std::string& key, const std::string& path) {
  std::ifstream file(path);
  std::string name;
  int64_t value = 0;
  while (file >> name >> value)
    if (name == key) return value;
  return -1;
}

std::string cgroup_folder() {
  std::ifstream file("/proc/self/cgroup");
  std::string line;
  while (std::getline(file, line))
    if (line.starts_with("0::")) return "/sys/fs/cgroup" + line.substr(3);
  return {};
}

}  // namespace

int64_t count_oom_kills() {
  const int64_t own = number_after("oom_kill", cgroup_folder() + "/memory.events");
  if (own >= 0) return own;
  const int64_t host = number_after("oom_kill", "/proc/vmstat");
  return host >= 0 ? host : 0;
}

}  // namespace ddp
