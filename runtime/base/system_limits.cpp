#include "runtime/base/system_limits.h"

#include <errno.h>
#include <fmt/core.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>

#include "runtime/base/bytes_text.h"
#include "runtime/base/cgroup.h"

namespace ddp {
namespace {

constexpr const char* kFewerTasks =
    "use fewer ranks, threads (train.threads_per_rank) or data workers (data.num_workers)";
constexpr int64_t kEnoughDescriptors = 1024;  // of the launcher with the most ranks, and of a rank

// Of a resource (RLIMIT_...), nullopt: unlimited.
std::optional<int64_t> limit_of(int resource) {
  rlimit limit;
  if (::getrlimit(__rlimit_resource_t(resource), &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return std::nullopt;
  return int64_t(limit.rlim_cur);
}

int64_t mapped_bytes() {
  int64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages * ::sysconf(_SC_PAGESIZE);
}

// Whether a thread's stack no longer fits into the address space.
bool lacks_room_for_a_stack() {
  constexpr int64_t kUsualStack = 8 << 20;
  const std::optional<int64_t> most = limit_of(RLIMIT_AS);
  return most && mapped_bytes() + limit_of(RLIMIT_STACK).value_or(kUsualStack) > *most;
}

// Why there is no further process or thread.
std::string task_advice() {
  if (lacks_room_for_a_stack()) return memory_in_use() + ": raise the limit";
  if (const std::optional<TaskLimit> reached = reached_task_limit())
    return fmt::format("{} allows {} processes and threads: raise it, or {}", reached->file.string(), reached->most,
                       kFewerTasks);
  const std::optional<int64_t> most = limit_of(RLIMIT_NPROC);
  if (most && ::geteuid() != 0)  // root's are not counted
    return fmt::format("this user may have {} processes and threads: raise the limit (ulimit -u), or {}", *most,
                       kFewerTasks);
  return fmt::format("the system has too many processes and threads (ulimit -u, pids.max, kernel.threads-max): {}",
                     kFewerTasks);
}

std::string advice(int error) {
  switch (error) {
    case EAGAIN:
      return task_advice();
    case EMFILE:
      return fmt::format("this process may have {} open files: raise the limit (ulimit -n {})",
                         limit_of(RLIMIT_NOFILE).value_or(0), kEnoughDescriptors);
    case ENFILE:
      return "the whole system has too many open files (sysctl fs.file-max)";
    case EFBIG:
      return "raise the limit, which counts for memory too, or use fewer ranks";
    case ENOSPC:  // of shared memory
    case ENOMEM:
      return memory_in_use() + (limit_of(RLIMIT_AS) ? ": raise the limit" : "");
    default:
      return {};
  }
}

}  // namespace

std::string memory_in_use() {
  const std::optional<int64_t> most = limit_of(RLIMIT_AS);
  return fmt::format("this process has {} of memory mapped{}", bytes_text(mapped_bytes()),
                     most ? fmt::format(" and may have {} (ulimit -v {})", bytes_text(*most), *most / 1024) : "");
}

int64_t free_memory_bytes() {
  std::ifstream file("/proc/meminfo");
  int64_t available = std::numeric_limits<int64_t>::max();
  std::string name, unit;
  for (int64_t kib = 0; file >> name >> kib && std::getline(file, unit);)
    if (name == "MemAvailable:") available = kib * 1024;
  const std::optional<int64_t> most = limit_of(RLIMIT_AS);
  return most ? std::min(available, std::max<int64_t>(*most - mapped_bytes(), 0)) : available;
}

Error os_error(const std::string& what, int error) {
  return Error(ExitCode::os_resource, what + ": " + errno_text(error), advice(error));
}

}  // namespace ddp
