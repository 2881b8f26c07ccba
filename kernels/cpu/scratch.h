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

// Whose memory: a thread has a buffer for each, since it holds what an op keeps while it works on the op's blocks.
enum class Scratch {
  block,     // of the block at hand, oneDNN's calls among them
  operands,  // of the op: operands as its blocks read them, parts of its sums
  copies,    // of the op: its arguments in another type
};

// The thread's buffer of at least `count` floats, 64-byte aligned, contents undefined. The next call in the same thread
// returns the same memory, so a kernel calls this once a block, or once an op, and divides what it gets.
template <Scratch kWhose = Scratch::block>
float* thread_scratch(int64_t count) {
  thread_local std::unique_ptr<float[], AlignedDelete> memory;
  thread_local int64_t capacity = 0;
  if (count > capacity) {
    memory.reset(new (std::align_val_t(64)) float[size_t(count)]);
    capacity = count;
  }
  return memory.get();
}

}  // namespace ddp::cpu
