// Softmax and cross-entropy of a chunk of rows; the gradient overwrites the logits. A block a row: one pass for maximum
// and sum together (online softmax, Milakov and Gimelshein, 2018), one for the gradient. Legend: M rows, V columns.
#include "kernels/cuda/warp.cuh"

#include "kernels/cuda/pack.cuh"
#include "kernels/cuda/run.h"
#include "kernels/ops/loss.h"

namespace ddp::cuda {
namespace {

constexpr int kThreads = 512;

template <class S>
struct Args {
  S* logits;
  float* loss;
  int32_t* ranks;  // nullptr: none
  const int32_t* targets;
  int64_t v, live;
  float scale, smoothing;
  const float* loss_scale;  // nullptr: 1
  bool backward;
};

struct Shared {
  BlockScratch<float2> scratch;
  BlockScratch<float> sums;
  BlockScratch<int> counts;
};

// The sum of exp(x - top) over the elements seen so far: x = top, y = sum.
struct MergeSums {
  __device__ float2 operator()(float2 a, float2 b) const {
    const float top = fmaxf(a.x, b.x);
    // Equal tops, -infinity among them, need no factor.
    return {top, (a.x == top ? a.y : a.y * expf(a.x - top)) + (b.x == top ? b.y : b.y * expf(b.x - top))};
  }
};

// Of the live columns of a row, for every thread of the block.
template <int W, class S>
__device__ __forceinline__ float log_sum_exp(const S* x, int64_t live, Shared& shared) {
  float2 mine = {-INFINITY, 0.0f};
  for (int64_t i = threadIdx.x * W; i < live; i += kThreads * W) {
    Pack<W> v = load<W>(x + i);
    float top = mine.x;
#pragma unroll
    for (int j = 0; j < W; ++j) {
      if (i + j >= live) v.x[j] = -INFINITY;
      top = fmaxf(top, v.x[j]);
    }
    if (top != mine.x) mine = {top, mine.y * exp_for<S>(mine.x - top)};
#pragma unroll
    for (float e : v.x) mine.y += e == -INFINITY ? 0.0f : exp_for<S>(e - top);  // top may be -infinity too
  }
  const float2 all = block_reduce(mine, MergeSums{}, float2{-INFINITY, 0.0f}, shared.scratch);
  return all.x + logf(all.y);
}

// Of the live columns of a row, for every thread of the block.
template <int W, class S>
__device__ __forceinline__ float mean(const S* x, int64_t live, Shared& shared) {
  float total = 0.0f;
  for (int64_t i = threadIdx.x * W; i < live; i += kThreads * W) {
    const Pack<W> v = load<W>(x + i);
#pragma unroll
    for (int j = 0; j < W; ++j) total += i + j < live ? v.x[j] : 0.0f;
  }
  return block_sum(total, shared.sums) / float(live);
}

// How many live columns of a row come before the target, by size and then by place; for every thread of the block.
template <int W, class S>
__device__ __forceinline__ int rank_of(const S* x, int64_t live, int64_t target, float at_target, Shared& shared) {
  int count = 0;
  for (int64_t i = threadIdx.x * W; i < live; i += kThreads * W) {
    const Pack<W> v = load<W>(x + i);
#pragma unroll
    for (int j = 0; j < W; ++j)
      count += i + j < live && (v.x[j] > at_target || (v.x[j] == at_target && i + j < target));
  }
  return block_sum(count, shared.counts);
}

// Unless bounded, ptxas 12.4 aims at four resident blocks of single elements and spills on sm_80 and sm_90.
template <int W, class S>
__global__ void __launch_bounds__(kThreads, W == 1 ? 1 : 0) rows(Args<S> a) {
  auto& shared = shared_memory<Shared>();
  const int64_t row = blockIdx.x, target = a.targets[row];
  S* x = a.logits + row * a.v;
  float lse = 0.0f, at_target = 0.0f;
  if (target >= 0) {
    lse = log_sum_exp<W>(x, a.live, shared);
    // A corrupt target reads nothing, and shows as a loss that is not a number.
    if (target >= a.live)
      lse = NAN;
    else
      at_target = float(x[target]);
  }
  float loss = lse - at_target;
  if (a.smoothing != 0.0f && target >= 0)
    loss = lse - (at_target + a.smoothing * (mean<W>(x, a.live, shared) - at_target));
  if (threadIdx.x == 0) a.loss[row] = loss;
  if (a.ranks != nullptr) {
    const int rank = rank_of<W>(x, a.live, target, at_target, shared);
    if (threadIdx.x == 0) a.ranks[row] = target < 0 || loss != loss ? kNoRank : rank;
  }
  if (!a.backward) return;
  __syncthreads();  // every thread has read x[target]
  const float scale = a.loss_scale == nullptr ? a.scale : a.scale * *a.loss_scale, at_one = 1.0f - a.smoothing,
              everywhere = a.smoothing / float(a.live);
  for (int64_t i = threadIdx.x * W; i < a.v; i += kThreads * W) {
    Pack<W> v = load<W>(x + i);
#pragma unroll
    for (int j = 0; j < W; ++j) {
      const float gradient = scale * (exp_for<S>(v.x[j] - lse) - (i + j == target ? at_one : 0.0f) - everywhere);
      v.x[j] = target >= 0 && i + j < a.live ? gradient : 0.0f;
    }
    store<W>(x + i, v);
  }
}

}  // namespace

template <>
void run(Stream& stream, const CrossEntropy& a) {
  const int64_t m = a.logits.dim(0), v = a.logits.dim(1);
  const LaunchShape shape = {"cross_entropy", blocks(m), kThreads, sizeof(Shared)};
  with_storage(a.logits.dtype, [&](auto s) {
    using S = decltype(s);
    const Args<S> args = {.logits = a.logits.as<S>(),
                          .loss = a.loss.as<float>(),
                          .ranks = a.ranks ? a.ranks.as<int32_t>() : nullptr,
                          .targets = a.targets.as<int32_t>(),
                          .v = v,
                          .live = a.live_columns,
                          .scale = a.scale,
                          .smoothing = a.label_smoothing,
                          .loss_scale = a.loss_scale,
                          .backward = a.backward};
    with_width<S>(v, {args.logits}, [&](auto w) { launch(stream, shape, rows<w, S>, args); });
  });
}

}  // namespace ddp::cuda
