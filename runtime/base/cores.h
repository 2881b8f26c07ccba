// How many cores there are and how they are shared out. The launcher (may waits spin?) and the ranks (how many
// threads?) must come to the same answer, so both ask here.
#pragma once

#include <cstdint>

namespace ddp {

// Cores that this process may run on: its affinity mask (taskset, cgroup cpusets, srun), not the machine's size.
int usable_cores();

// Threads of one rank: `configured` where positive, else cores / ranks, at least 1.
int threads_per_rank(int64_t configured, int local_ranks, int cores);

}  // namespace ddp
