// Switching between stacks, the smallest possible (x86-64, System V): 5 ns, where swapcontext makes a system call.
#pragma once

#include <cstddef>

namespace ddp::sim {

// Stacks for the threads of a block, a guard page below each.
std::byte* allocate_stacks(int count, size_t bytes);
inline size_t stacks_bytes(int count, size_t bytes) { return size_t(count) * (bytes + 4096); }
inline std::byte* stack_of(std::byte* stacks, int i, size_t bytes) {
  return stacks + size_t(i) * (bytes + 4096) + 4096;
}

// A stack pointer that starts `entry` when first switched to. `entry` must not return.
void* prepare_stack(std::byte* stack, size_t bytes, void (*entry)());

// Saves the caller's stack pointer in *save and continues at `to`.
extern "C" void ddp_sim_switch(void** save, void* to);

}  // namespace ddp::sim
