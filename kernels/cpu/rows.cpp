// Rows by their indices. A block copies kColumns columns, of some rows (gather) or of a sample (scatter).
#include <algorithm>

#include "kernels/cpu/run.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/storage.h"
#include "kernels/ops/embedding.h"
#include "runtime/device/cpu_device.h"

namespace ddp::cpu {
namespace {

constexpr int64_t kRows = 16, kColumns = 1024;

// A corrupt index must not become an access anywhere in memory.
int64_t checked_index(int32_t index, int64_t rows) {
  DDP_CHECK(index < rows, "index {} of {} rows", index, rows);
  return index;
}

template <class S>
void run(ThreadPool& pool, const GatherRows& a) {
  const int64_t n = a.y.dim(0), c = a.y.dim(1), n_sample = n / a.samples, m_sample = a.x.dim(0) / a.samples;
  const int32_t* index = a.index.as<int32_t>();
  const S* x = a.x.as<S>();
  S* y = a.y.as<S>();
  pool.parallel_for(ceil_div(n, kRows), [=](int64_t block) {
    for (int64_t row = block * kRows; row < std::min(n, (block + 1) * kRows); ++row) {
      const int64_t at = checked_index(index[row], m_sample);
      if (at < 0) {
        std::fill_n(y + row * c, c, S{});
      } else {
        std::copy_n(x + (row / n_sample * m_sample + at) * c, c, y + row * c);
      }
    }
  });
}

template <class S>
void run(ThreadPool& pool, const ScatterRows& a) {
  const int64_t c = a.y.dim(1), n_sample = a.x.dim(0) / a.samples, m_sample = a.y.dim(0) / a.samples,
                strips = ceil_div(c, kColumns);
  const int32_t* index = a.index.as<int32_t>();
  const S* x = a.x.as<S>();
  S* y = a.y.as<S>();
  pool.parallel_for(a.samples * strips, [=](int64_t block) {
    const int64_t sample = block / strips, begin = block % strips * kColumns, width = std::min(kColumns, c - begin);
    S* to = y + sample * m_sample * c + begin;
    for (int64_t row = 0; row < m_sample; ++row) std::fill_n(to + row * c, width, S{});
    for (int64_t row = sample * n_sample; row < (sample + 1) * n_sample; ++row) {
      const int64_t at = checked_index(index[row], m_sample);
      if (at >= 0) std::copy_n(x + row * c + begin, width, to + at * c);
    }
  });
}

}  // namespace

template <>
void run(Stream& stream, const GatherRows& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) { with_storage(a.x.dtype, [&](auto s) { run<decltype(s)>(pool, a); }); });
}

template <>
void run(Stream& stream, const ScatterRows& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) { with_storage(a.x.dtype, [&](auto s) { run<decltype(s)>(pool, a); }); });
}

}  // namespace ddp::cpu
