// Loops of ops that treat each element by itself.
#pragma once

#include <algorithm>

#include "kernels/cpu/scratch.h"
#include "kernels/cpu/vec.h"
#include "runtime/device/thread_pool.h"

namespace ddp::cpu {

// y[i ...] = f(x of elements i ...), 16 at a time, for the n elements of one input or of two. y may be an input.
template <class S, class F>
void map_elements(ThreadPool& pool, S* y, const S* x, int64_t n, F f) {
  constexpr int64_t kBlock = 16384;  // elements
  pool.parallel_for(ceil_div(n, kBlock), [=](int64_t block) {
    const int64_t end = std::min(n, (block + 1) * kBlock);
    for (int64_t i = block * kBlock; i < end; i += kVecWidth) store(y + i, f(load(x + i, end - i)), end - i);
  });
}
template <class S, class F>
void map_elements(ThreadPool& pool, S* y, const S* a, const S* b, int64_t n, F f) {
  constexpr int64_t kBlock = 16384;  // elements
  pool.parallel_for(ceil_div(n, kBlock), [=](int64_t block) {
    const int64_t end = std::min(n, (block + 1) * kBlock);
    for (int64_t i = block * kBlock; i < end; i += kVecWidth)
      store(y + i, f(load(a + i, end - i), load(b + i, end - i)), end - i);
  });
}

}  // namespace ddp::cpu
