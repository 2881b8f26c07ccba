// Sums: of losses, of gradients, of squares. Lanes and blocks are fixed by the shapes, so every number of threads gives
// the same bits.
#include <algorithm>

#include "kernels/cpu/run.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/storage.h"
#include "kernels/cpu/vec.h"
#include "kernels/ops/elementwise.h"
#include "kernels/ops/step.h"
#include "runtime/device/cpu_device.h"

namespace ddp::cpu {
namespace {

constexpr int64_t kBlock = 32768;  // elements
constexpr int64_t kChunks = 4;     // of a block

// Sum over n elements of f(x) in double: 16 lanes, then by halves.
template <class S, class F>
DDP_INLINE double sum_of(const S* x, int64_t n, F f) {
  v8d low{}, high{};
  for (int64_t i = 0; i < n; i += kVecWidth) {
    const v16 xi = load(x + i, n - i);
    low += f(low_half(xi)), high += f(high_half(xi));
  }
  return sum(low + high);
}

// One block: n is the number of tokens of a micro-batch or the like.
void run(ThreadPool&, const SumInto& a) {
  double& out = *a.out.as<double>();
  const double total = sum_of(a.x.as<float>(), a.x.numel(), [](v8d x) { return x; });
  out = a.accumulate ? out + total : total;
}

template <class T>
void add_block(T* y, const T* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] += x[i];
}

template <class S>
requires(sizeof(S) == 2) void add_block(float* y, const S* x, int64_t n) {
  for (int64_t i = 0; i < n; i += kVecWidth) store(y + i, load(y + i, n - i) + load(x + i, n - i), n - i);
}

template <class Y, class X>
void add(ThreadPool& pool, Y* y, const X* x, int64_t n) {
  pool.parallel_for(ceil_div(n, kBlock), [=](int64_t block) {
    const int64_t begin = block * kBlock;
    add_block(y + begin, x + begin, std::min(kBlock, n - begin));
  });
}

void run(ThreadPool& pool, const AddInto& a) {
  const int64_t n = a.x.numel();
  if (a.x.dtype == DType::f64) return add(pool, a.y.as<double>(), a.x.as<double>(), n);
  with_storage(a.x.dtype, [&](auto s) { add(pool, a.y.as<float>(), a.x.as<decltype(s)>(), n); });
}

template <class S>
void run(ThreadPool& pool, const SumSquares& a) {
  const int64_t chunks = a.partials.numel();
  const int64_t* begin = a.chunk_begin.as<int64_t>();
  const S* x = a.x.as<S>();
  double* partials = a.partials.as<double>();
  pool.parallel_for(ceil_div(chunks, kChunks), [=](int64_t block) {
    for (int64_t s = block * kChunks; s < std::min(chunks, (block + 1) * kChunks); ++s)
      partials[s] = sum_of(x + (begin[s] - begin[0]), begin[s + 1] - begin[s], [](v8d v) { return v * v; });
  });
}

}  // namespace

template <>
void run(Stream& stream, const SumInto& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) { run(pool, a); });
}

template <>
void run(Stream& stream, const AddInto& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) { run(pool, a); });
}

template <>
void run(Stream& stream, const SumSquares& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) { with_storage(a.x.dtype, [&](auto s) { run<decltype(s)>(pool, a); }); });
}

}  // namespace ddp::cpu
