// How many cores there are and how they are shared out. The launcher (may waits spin?) and the ranks (how many
// threads?) must come to the same answer, so both ask here.
#pragma once

#include <cstdint>

#include "runtime/base/cgroup.h"

namespace ddp {

// Cores that this process may run on: its affinity mask (taskset, cgroup cpusets, srun), not the machine's size.
int allowed_cores();
// As many of them as it may keep busy: a quota of CPU time (a container's --cpus) pays for no more.
int usable_cores(const CgroupPlaces& places = {});

// Threads of one rank: `configured` where positive, else cores / ranks, at least 1.
int threads_per_rank(int64_t configured, int local_ranks, int cores);

// Whether `threads` of a run are to be pinned, a core each: where they are as many as the cores, all of which the run
// may keep busy. Where cores are left over, another run's threads may be on any of them, and only the kernel sees which
// are idle: two runs that pinned themselves to the first cores would share these.
bool should_pin(int threads, int allowed, int usable);

}  // namespace ddp
