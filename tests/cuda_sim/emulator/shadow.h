// The checked build's view of memory: who touched each cell last, so that two accesses that nothing orders are a race
// whatever the schedule did. Two threads of a block are ordered by __syncthreads, two lanes of a warp by __syncwarp too
// (shuffles order nothing), two blocks of a kernel by nothing.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ddp::sim {

// An access of the running kernel. Reports races, accesses outside every allocation and reads of shared memory that the
// block has not written.
void check_access(uintptr_t address, size_t bytes, bool write);

// A pointer that is used as one to a type of larger alignment.
void report_misaligned(const void* address, size_t alignment, const char* file, int line);

}  // namespace ddp::sim
