// Sums: of losses, of gradients, of squares. Lanes and blocks are fixed by the shapes, so every number of threads gives
// the same bits.
#include <algorithm>

#include "kernels/cpu/run.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/storage.h"
#include "kernels/cpu/vec.h"
#include "kernels/ops/elementwise.h"
#include "kernels/ops/loss.h"
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

// Of n targets: sums (num_sums) =|+= where accumulate. ranks: nullptr without.
void sum_losses(double* sums, int64_t num_sums, const float* loss, const int32_t* targets, const int32_t* ranks,
                int64_t n, bool accumulate) {
  double totals[kNumEvalSums] = {};
  totals[kLossSum] = sum_of(loss, n, [](v8d x) { return x; });
  totals[kCountedTargets] = double(std::count_if(targets, targets + n, [](int32_t t) { return t >= 0; }));
  if (ranks != nullptr)
    for (int64_t i = 0; i < n; ++i) {
      if (targets[i] < 0) continue;
      totals[kTop1] += ranks[i] < 1;
      totals[kTop5] += ranks[i] < 5;
    }
  for (int64_t i = 0; i < num_sums; ++i) sums[i] = accumulate ? sums[i] + totals[i] : totals[i];
}

// One thread: the losses of a micro-batch are few.
void run(ThreadPool&, const SumLosses& a) {
  const int64_t samples = a.sums.dim(0), num_sums = a.sums.dim(1), n = a.targets.numel() / samples;
  for (int64_t s = 0; s < samples; ++s)
    sum_losses(a.sums.as<double>() + s * num_sums, num_sums, a.loss.as<float>() + s * n,
               a.targets.as<int32_t>() + s * n, a.ranks ? a.ranks.as<int32_t>() + s * n : nullptr, n, a.accumulate);
}

template <class T>
requires(sizeof(T) > 2) void add_block(T* y, const T* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] += x[i];
}

template <class Y, class X>
requires(sizeof(X) == 2) void add_block(Y* y, const X* x, int64_t n) {
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
  with_storage(a.x.dtype, [&](auto s) {
    using S = decltype(s);
    with_grad<S>(a.y.dtype, [&](auto y) { add(pool, a.y.as<decltype(y)>(), a.x.as<S>(), n); });
  });
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
void run(Stream& stream, const SumLosses& a) {
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
