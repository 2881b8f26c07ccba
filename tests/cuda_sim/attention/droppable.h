// The attention kernels with barriers that a test takes out one at a time, to see that the checked build misses each.
// droppable_*.cpp compile the kernels' own source with the barriers of this header; barriers_test.cpp, which is not
// instrumented, defines them.
#pragma once

#include "kernels/cuda/launch.cuh"

namespace ddp::test {

void droppable_block_barrier(const char* file, int line);
void droppable_warp_barrier(const char* file, int line);

}  // namespace ddp::test

#undef __syncthreads
#define __syncthreads() ::ddp::test::droppable_block_barrier(__FILE__, __LINE__)
#define __syncwarp() ::ddp::test::droppable_warp_barrier(__FILE__, __LINE__)
