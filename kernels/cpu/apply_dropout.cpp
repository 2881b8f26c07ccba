// Dropout by itself.
#include <algorithm>

#include "kernels/cpu/dropout.h"
#include "kernels/cpu/run.h"
#include "kernels/cpu/storage.h"
#include "kernels/ops/elementwise.h"
#include "runtime/device/cpu_device.h"

namespace ddp::cpu {
namespace {

constexpr int64_t kRows = 16;  // of a block

template <class S>
void run(ThreadPool& pool, const ApplyDropout& a) {
  const int64_t m = a.x.dim(0), c = a.x.dim(1);
  const S* x = a.x.as<S>();
  S* y = a.y.as<S>();
  const DropoutMask mask(a.dropout);
  if (!mask.active()) {
    if (y != x) std::copy_n(x, m * c, y);
    return;
  }
  const int64_t rows_per_sample = m / a.dropout.num_samples;
  pool.parallel_for(ceil_div(m, kRows), [&](int64_t block) {
    float* buffer = thread_scratch(DropoutMask::row_buffer(c));
    for (int64_t row = block * kRows; row < std::min(m, (block + 1) * kRows); ++row) {
      const float* keep = mask.row(row / rows_per_sample, row % rows_per_sample * c, c, buffer);
      const S* from = x + row * c;
      for (int64_t i = 0; i < c; i += kVecWidth)
        store(y + row * c + i, load(from + i, c - i) * load(keep + i, c - i), c - i);
    }
  });
}

}  // namespace

template <>
void run(Stream& stream, const ApplyDropout& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) { with_storage(a.x.dtype, [&](auto s) { run<decltype(s)>(pool, a); }); });
}

}  // namespace ddp::cpu
