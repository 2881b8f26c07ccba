// Where the two halves of the simulator meet: the runtime simulator (streams, events, memory, NCCL) decides when a
// kernel runs, and the emulator runs it. Neither knows more of the other than this.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <functional>

namespace ddp::sim {

// Implemented by the runtime simulator, called by kernels/cuda/launch.cuh. `run` executes the whole grid on the calling
// thread; it may run later, and again for each replay of a graph, but only one kernel of a process at a time.
void enqueue_kernel(cudaStream_t stream, const char* name, std::function<void()> run);

// Implemented by the emulator, called by the runtime simulator.

// What kernels may touch. The checked build reports any other address.
void add_device_memory(const void* memory, size_t bytes);
void remove_device_memory(const void* memory);

// Called for every access of a running kernel to device memory, in the checked build only; nullptr: nobody.
using AccessHook = void (*)(const void* address, size_t bytes, bool write);
void set_access_hook(AccessHook hook);

// Of this process. Bytes are of global memory and counted in the checked build only.
struct KernelCounters {
  int64_t launches = 0, blocks = 0, threads = 0;
  int64_t bytes_read = 0, bytes_written = 0;
};
const KernelCounters& kernel_counters();

}  // namespace ddp::sim
