// Sums in parts that several threads make and that are then added in order.
#pragma once

#include <algorithm>

#include "kernels/cpu/vec.h"
#include "runtime/base/rounding.h"
#include "runtime/device/thread_pool.h"

namespace ddp::cpu {

// out (n) G (=|+= where accumulate) the sum of parts (count, n), from the first to the last; rounded once. out may be
// the first part.
template <class G>
void add_parts(ThreadPool& pool, G* out, const float* parts, int64_t count, int64_t n, bool accumulate = false) {
  constexpr int64_t kBlock = 16384;  // elements
  pool.parallel_for(ceil_div(n, kBlock), [=](int64_t block) {
    const int64_t end = std::min(n, (block + 1) * kBlock);
    for (int64_t i = block * kBlock; i < end; i += kVecWidth) {
      v16 sum = load(parts + i, end - i);
      for (int64_t part = 1; part < count; ++part) sum += load(parts + part * n + i, end - i);
      store(out + i, accumulate ? load(out + i, end - i) + sum : sum, end - i);
    }
  });
}

}  // namespace ddp::cpu
