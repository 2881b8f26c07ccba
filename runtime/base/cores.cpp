#include "runtime/base/cores.h"

#include <sched.h>

#include <algorithm>

namespace ddp {

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

int threads_per_rank(int64_t configured, int local_ranks, int cores) {
  if (configured > 0) return int(configured);
  return std::max(1, cores / local_ranks);
}

}  // namespace ddp
