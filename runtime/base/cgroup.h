// The cgroup of this process, in which containers and schedulers limit what it may use. Both versions of the interface;
// where there is none, or /proc or /sys is not mounted, nothing is limited.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

namespace ddp {

// Where the kernel shows it; a test has files of its own.
struct CgroupPlaces {
  std::filesystem::path root = "/sys/fs/cgroup", membership = "/proc/self/cgroup";
};

// Folders in which `controller` ("cpu", "pids", "memory") may have files: that of the process's cgroup, then those
// above it. One that a container does not see does not exist.
std::vector<std::filesystem::path> cgroup_folders(std::string_view controller, const CgroupPlaces& places = {});

// Cores that the tightest quota of CPU time pays for, rounded up, so that 150% are 2; nullopt: there is none.
std::optional<int> cores_of_quota(const CgroupPlaces& places = {});

// A cgroup's limit on its processes and threads.
struct TaskLimit {
  std::filesystem::path file;  // pids.max
  int64_t most = 0;
};
// The one that is reached; nullopt: none.
std::optional<TaskLimit> reached_task_limit(const CgroupPlaces& places = {});

}  // namespace ddp
