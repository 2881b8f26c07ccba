// What this process asked of the GPU, so that a step can be held to it: written as JSON at the process's end, by each
// rank into $DDP_SIM_COUNTS.RANK. These are totals: what a step costs is the difference between runs of different
// length, in which start and end cancel, so that the simulator need not know what a step is.
#pragma once

#include <cstdint>

namespace ddp::sim {

// Submitted to a stream: a kernel, a copy, a call of a library.
void count_work(const char* name);
// Of a kernel that ran, as its threads access global memory; in the checked build only, else 0.
void count_kernel(const char* name, int64_t bytes_read, int64_t bytes_written);
// A call that makes the host wait for the GPU. Queries of an event do not.
void count_host_synchronisation(const char* call);

}  // namespace ddp::sim
