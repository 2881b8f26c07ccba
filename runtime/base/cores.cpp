#include "runtime/base/cores.h"

#include <sched.h>

#include <algorithm>

namespace ddp {

int allowed_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

int usable_cores(const CgroupPlaces& places) {
  const int allowed = allowed_cores();
  return std::min(allowed, cores_of_quota(places).value_or(allowed));
}

int threads_per_rank(int64_t configured, int local_ranks, int cores) {
  if (configured > 0) return int(configured);
  return std::max(1, cores / local_ranks);
}

bool should_pin(int threads, int allowed, int usable) { return threads == allowed && usable == allowed; }

}  // namespace ddp
