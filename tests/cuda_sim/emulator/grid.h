// Runs a kernel's grid on the calling thread: every thread of a block is a fiber, blocks run one after another. A fiber
// runs until a barrier or a warp operation that others have not reached; which one goes next is the schedule's choice,
// so code that relies on an order the language does not promise fails under one of them.
#pragma once

#include <cuda_runtime_api.h>
#include <vector_functions.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <tuple>

#include "tests/cuda_sim/bridge.h"

// For the emulator's own code inside checked kernels: its accesses are not the kernel's.
#define DDP_SIM_UNCHECKED __attribute__((no_sanitize("thread"), no_sanitize("undefined"), noinline))

namespace ddp::sim {

// Order of threads (and blocks) where the language leaves it open. From DDP_SIM_SCHEDULE (ascending, descending,
// random: the default) and DDP_SIM_SEED where set.
enum class Schedule : uint8_t { ascending, descending, random };
void set_schedule(Schedule schedule, uint64_t seed);

struct GridShape {
  const char* name;
  dim3 grid, block;
  size_t shared_bytes;
};

// A kernel and its arguments, by value as in a real launch.
template <class... Parameters>
struct KernelCall {
  void (*kernel)(Parameters...);
  std::tuple<Parameters...> args;
  using Body = void (*)(const void* call);
  Body body() const {
    return [](const void* call) {
      const auto& self = *static_cast<const KernelCall*>(call);
      std::apply(self.kernel, self.args);
    };
  }
};

// body(call) is one thread of the kernel; [call, call + call_bytes) are its arguments, which it may read.
void run_grid(const GridShape& shape, void (*body)(const void* call), const void* call, size_t call_bytes);

struct Warp;
// What a warp operation does once every lane of `lanes` has come: it finds their operands in warp.lane[i]->operand.
using WarpOp = void (*)(Warp& warp, unsigned lanes);

// One thread of the running block.
struct Thread {
  void* stack_pointer;
  std::byte* stack;  // lowest address
  uint3 index;       // threadIdx
  unsigned linear, lane;
  Warp* warp;
  enum class State : uint8_t { ready, at_barrier, in_warp_op, done } state;
  // The warp operation it waits in.
  unsigned mask;
  void* operand;
  WarpOp op;
};

struct Warp {
  Thread* lane[32];
  unsigned live, arrived;  // lanes
  uint32_t epoch;          // __syncwarp so far: what comes before one is visible to the warp after it
};

inline constexpr int kMaxThreads = 1024;              // of a block
inline constexpr size_t kStackBytes = 128 * 1024;     // of a thread
inline constexpr size_t kMaxSharedBytes = 64 * 1024;  // of a block: of sm_75, the smallest the kernels are for

// The running grid. Epochs number the stretches between barriers, ascending over blocks and kernels.
struct Machine {
  Thread* current;  // nullptr: no kernel runs
  uint3 block_index;
  dim3 block_dim, grid_dim;
  std::byte* shared;  // of the block
  size_t shared_bytes;
  const char* kernel;
  const void* call;
  size_t call_bytes;
  uint32_t epoch, kernel_first_epoch, block_first_epoch;
  std::byte* stacks;  // of all threads
  size_t stacks_bytes;
  Thread threads[kMaxThreads];
  Warp warps[kMaxThreads / 32];
};
extern Machine machine;
// True on the host thread that runs a grid, while it does.
extern thread_local bool runs_grid;

// Of the language. `site` tells barriers apart.
void block_barrier(int site);
void warp_operation(unsigned mask, void* operand, WarpOp op);
std::byte* shared_memory(size_t bytes);

// "in softmax, block (0,0,0), thread (3,0,0)".
std::string where();

KernelCounters& counters();

}  // namespace ddp::sim
