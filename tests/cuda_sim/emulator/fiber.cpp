#include "tests/cuda_sim/emulator/fiber.h"

#include <sys/mman.h>

#include <cstdint>

#include "runtime/base/check.h"

asm(R"(
.text
.globl ddp_sim_switch
.hidden ddp_sim_switch
.type ddp_sim_switch,@function
ddp_sim_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size ddp_sim_switch,.-ddp_sim_switch
)");

namespace ddp::sim {

std::byte* allocate_stacks(int count, size_t bytes) {
  const size_t each = bytes + 4096;
  void* memory = mmap(nullptr, stacks_bytes(count, bytes), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  DDP_CHECK(memory != MAP_FAILED, "no memory for {} stacks", count);
  auto* stacks = static_cast<std::byte*>(memory);
  for (int i = 0; i < count; ++i)
    DDP_CHECK(mprotect(stacks + size_t(i) * each, 4096, PROT_NONE) == 0, "guard page {}", i);
  return stacks;
}

void* prepare_stack(std::byte* stack, size_t bytes, void (*entry)()) {
  constexpr int kSavedRegisters = 6;
  auto** top = reinterpret_cast<void**>((reinterpret_cast<uintptr_t>(stack) + bytes - 64) & ~uintptr_t(63));
  *--top = nullptr;  // where `entry` would return to
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < kSavedRegisters; ++i) *--top = nullptr;
  return top;
}

}  // namespace ddp::sim
