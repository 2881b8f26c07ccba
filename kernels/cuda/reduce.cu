// Sums: of losses, of gradients, of squares. Each thread sums every kThreads-th element, then the block in fixed order.
#include "kernels/cuda/warp.cuh"

#include "kernels/cuda/pack.cuh"
#include "kernels/cuda/run.h"
#include "kernels/ops/elementwise.h"
#include "kernels/ops/loss.h"
#include "kernels/ops/step.h"

namespace ddp::cuda {
namespace {

constexpr int kThreads = 256, kSumThreads = 1024;

using Shared = BlockScratch<double>;

struct Losses {
  double* sums;
  const float* loss;
  const int32_t *targets, *ranks;  // ranks: nullptr without
  int64_t n;                       // targets of a sample
  bool accumulate;
};

// What loss i adds to sum s (LossSum).
__device__ __forceinline__ double addend(const Losses& a, int s, int64_t i) {
  if (s == kLossSum) return double(a.loss[i]);
  if (a.targets[i] < 0) return 0.0;
  return s == kCountedTargets || a.ranks[i] < (s == kTop1 ? 1 : 5) ? 1.0 : 0.0;
}

// A block a sample.
__global__ void __launch_bounds__(kSumThreads) sum_of_losses(Losses a) {
  const int num_sums = a.ranks == nullptr ? kNumTrainSums : kNumEvalSums;
  const int64_t first = blockIdx.x * a.n;
  double* sums = a.sums + int64_t(blockIdx.x) * num_sums;
  for (int s = 0; s < num_sums; ++s) {
    double total = 0.0;
    for (int64_t i = threadIdx.x; i < a.n; i += kSumThreads) total += addend(a, s, first + i);
    total = block_sum(total, shared_memory<Shared>());
    if (threadIdx.x == 0) sums[s] = a.accumulate ? sums[s] + total : total;
  }
}

__global__ void __launch_bounds__(kThreads) add_doubles(double* y, const double* x, int64_t n) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i < n) y[i] += x[i];
}

template <int W, class Y, class S>
__global__ void __launch_bounds__(kThreads) add_elements(Y* y, const S* x, int64_t n) {
  const int64_t i = (int64_t(blockIdx.x) * kThreads + threadIdx.x) * W;
  if (i >= n) return;
  Pack<W> total = load<W>(y + i);
  const Pack<W> more = load<W>(x + i);
#pragma unroll
  for (int j = 0; j < W; ++j) total.x[j] += more.x[j];
  store<W>(y + i, total);
}

template <int W, class S>
__device__ __forceinline__ double squares(const S* x, int64_t n) {
  double total = 0.0;
  for (int64_t i = threadIdx.x * W; i < n; i += kThreads * W) {
    const Pack<W> v = load<W>(x + i);
#pragma unroll
    for (float e : v.x) total += double(e) * double(e);
  }
  return total;
}

// One block.
__global__ void __launch_bounds__(kSumThreads) find_bad(double* mark, const double* partials, int64_t num_chunks) {
  int64_t bad_chunk = INT64_MAX;
  for (int64_t chunk = threadIdx.x; chunk < num_chunks; chunk += kSumThreads)
    if (!isfinite(partials[chunk])) bad_chunk = min(bad_chunk, chunk);
  bad_chunk = block_min(bad_chunk, shared_memory<BlockScratch<int64_t>>());
  if (threadIdx.x == 0) *mark = bad_chunk == INT64_MAX ? 0.0 : double(bad_chunk + 1);
}

// A block a chunk.
template <class S>
__global__ void __launch_bounds__(kThreads)
    chunk_squares(double* partials, const S* x, const int64_t* chunk_begin, bool x_aligned) {
  constexpr int W = kWidth<S>;
  const int64_t chunk = blockIdx.x, at = chunk_begin[chunk] - chunk_begin[0],
                n = chunk_begin[chunk + 1] - chunk_begin[chunk];
  const bool packed = x_aligned && at % W == 0 && n % W == 0;
  const double mine = packed ? squares<W>(x + at, n) : squares<1>(x + at, n);
  const double total = block_sum(mine, shared_memory<Shared>());
  if (threadIdx.x == 0) partials[chunk] = total;
}

}  // namespace

template <>
void run(Stream& stream, const SumLosses& a) {
  const Losses losses = {.sums = a.sums.as<double>(),
                         .loss = a.loss.as<float>(),
                         .targets = a.targets.as<int32_t>(),
                         .ranks = a.ranks ? a.ranks.as<int32_t>() : nullptr,
                         .n = a.targets.numel() / a.sums.dim(0),
                         .accumulate = a.accumulate};
  launch(stream, {"sum_losses", blocks(a.sums.dim(0)), kSumThreads, sizeof(Shared)}, sum_of_losses, losses);
}

template <>
void run(Stream& stream, const AddInto& a) {
  const int64_t n = a.x.numel();
  if (a.x.dtype == DType::f64) {
    launch(stream, {"add_into", blocks(ceil_div(n, kThreads)), kThreads}, add_doubles, a.y.as<double>(),
           a.x.as<double>(), n);
    return;
  }
  with_storage(a.x.dtype, [&](auto s) {
    using S = decltype(s);
    with_grad<S>(a.y.dtype, [&](auto y) {
      using Y = decltype(y);
      with_width<S>(n, {a.y.data, a.x.data}, [&](auto w) {
        launch(stream, {"add_into", blocks(ceil_div(n, kThreads * w)), kThreads}, add_elements<w, Y, S>, a.y.as<Y>(),
               a.x.as<S>(), n);
      });
    });
  });
}

template <>
void run(Stream& stream, const FindNonFinite& a) {
  launch(stream, {"find_non_finite", 1, kSumThreads, sizeof(BlockScratch<int64_t>)}, find_bad, a.mark.as<double>(),
         a.partials.as<double>(), a.partials.numel());
}

template <>
void run(Stream& stream, const SumSquares& a) {
  with_storage(a.x.dtype, [&](auto s) {
    using S = decltype(s);
    launch(stream, {"sum_squares", blocks(a.partials.numel()), kThreads, sizeof(Shared)}, chunk_squares<S>,
           a.partials.as<double>(), a.x.as<S>(), a.chunk_begin.as<int64_t>(), aligned16({a.x.data}));
  });
}

}  // namespace ddp::cuda
