// Whether the kernel's out-of-memory killer was at work: its victims die of a plain SIGKILL, and nothing else tells
// them apart.
#pragma once

#include <cstdint>

namespace ddp {

// OOM kills so far: of this process's cgroup (v2) where that can be read, else of the whole host. 0 where neither is
// known.
int64_t count_oom_kills();

}  // namespace ddp
