// Per-thread scratch memory that stays until the thread ends, so that no kernel allocates once shapes have been seen.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

#include "runtime/base/rounding.h"

namespace ddp::cpu {

struct AlignedDelete {
  void operator()(float* p) const { ::operator delete[](p, std::align_val_t(64)); }
};

// The thread's buffer of at least `count` floats, 64-byte aligned, contents undefined. One buffer a thread: the next
// call in the same thread returns the same memory, so a kernel calls this once a block and divides what it gets.
inline float* thread_scratch(int64_t count) {
  thread_local std::unique_ptr<float[], AlignedDelete> memory;
  thread_local int64_t capacity = 0;
  if (count > capacity) {
    memory.reset(new (std::align_val_t(64)) float[size_t(count)]);
    capacity = count;
  }
  return memory.get();
}

}  // namespace ddp::cpu
