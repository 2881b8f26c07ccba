// Cross entropy of a chunk of rows, fused with its gradient. A row of 50,304 logits (200 KB in f32) comes from memory
// once: the first pass takes the running maximum and sum of exponentials span by span, the second finds the row in L2
// and overwrites it.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/run.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/storage.h"
#include "kernels/cpu/vec.h"
#include "kernels/ops/loss.h"
#include "runtime/device/cpu_device.h"

namespace ddp::cpu {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
constexpr int64_t kBlock = 16384;  // elements a block has at least
constexpr int64_t kSpan = 2048;    // elements whose maximum is taken before their exponentials: 8 KB stay in L1

// log(sum(exp(x))) of n elements, online (Milakov and Gimelshein, 2018) by spans: one exponential an element, and one
// more a span for the sum so far.
template <class S>
float log_sum_exp(const S* x, int64_t n) {
  v16 top = splat(kMinusInfinity), total{};  // top: the maximum so far, in every lane
  for (int64_t begin = 0; begin < n; begin += kSpan) {
    const int64_t end = std::min(n, begin + kSpan);
    v16 span_top = top;
    for (int64_t i = begin; i < end; i += kVecWidth) span_top = max(load(x + i, end - i, kMinusInfinity), span_top);
    span_top = splat(max(span_top));
    if (begin > 0) total *= expv(top - span_top);
    top = span_top;
    for (int64_t i = begin; i < end; i += kVecWidth) total += expv(load(x + i, end - i, kMinusInfinity) - top);
  }
  return top[0] + logv(splat(sum(total)))[0];
}

template <class S>
float mean(const S* x, int64_t n) {
  v8d total{};
  for (int64_t i = 0; i < n; i += kVecWidth) {
    const v16 xi = load(x + i, n - i);
    total += low_half(xi) + high_half(xi);
  }
  return float(sum(total) / double(n));
}

// How many of n elements come before x[target], by size and then by place.
template <class S>
int32_t rank_of(const S* x, int64_t n, int64_t target) {
  const v16 at_target = splat(to_f32(x[target]));
  v16i count{};
  for (int64_t i = 0; i < n; i += kVecWidth) {
    const v16 xi = load(x + i, n - i, kMinusInfinity);
    const v16i is_earlier = kVecIndex < int32_t(std::clamp<int64_t>(target - i, 0, kVecWidth));
    count -= (xi > at_target) | ((xi == at_target) & is_earlier);  // true is -1
  }
  int32_t total = 0;
  for (int lane = 0; lane < kVecWidth; ++lane) total += count[lane];
  return total;
}

// x = scale * (softmax(x) - (1 - smoothing) onehot(target) - smoothing / live) over the live columns, 0 in the padding.
template <class S>
void backward_row(S* x, float lse, int64_t target, float scale, float smoothing, int64_t live, int64_t columns) {
  const float everywhere = scale * (smoothing / float(live)), at_target = scale * (1.0f - smoothing);
  for (int64_t i = 0; i < live; i += kVecWidth) {
    v16 d = expv(load(x + i, live - i) - lse) * scale - everywhere;
    if (i <= target && target < i + kVecWidth) d[target - i] -= at_target;
    store(x + i, d, live - i);
  }
  std::fill(x + live, x + columns, S{});
}

template <class S>
void run(ThreadPool& pool, const CrossEntropy& a) {
  const int64_t m = a.logits.dim(0), v = a.logits.dim(1), live = a.live_columns;
  const int32_t* targets = a.targets.as<int32_t>();
  S* logits = a.logits.as<S>();
  float* loss = a.loss.as<float>();
  int32_t* ranks = a.ranks ? a.ranks.as<int32_t>() : nullptr;
  const float scale = a.loss_scale == nullptr ? a.scale : a.scale * *a.loss_scale, smoothing = a.label_smoothing;
  const int64_t rows = ceil_div(kBlock, v);  // of a block
  pool.parallel_for(ceil_div(m, rows), [=](int64_t block) {
    for (int64_t row = block * rows; row < std::min(m, (block + 1) * rows); ++row) {
      S* x = logits + row * v;
      const int64_t target = targets[row];
      DDP_CHECK(target < live, "target {} of {} classes", target, live);
      if (target < 0) {
        loss[row] = 0.0f;
        if (ranks != nullptr) ranks[row] = kNoRank;
        if (a.backward) std::fill_n(x, v, S{});
        continue;
      }
      const float lse = log_sum_exp(x, live);
      const float at_target = to_f32(x[target]);
      loss[row] = lse - (smoothing == 0.0f ? at_target : at_target + smoothing * (mean(x, live) - at_target));
      if (ranks != nullptr) ranks[row] = std::isnan(loss[row]) ? kNoRank : rank_of(x, live, target);
      if (a.backward) backward_row(x, lse, target, scale, smoothing, live, v);
    }
  });
}

}  // namespace

template <>
void run(Stream& stream, const CrossEntropy& a) {
  cpu_enqueue(stream,
              [a](ThreadPool& pool) { with_storage(a.logits.dtype, [&](auto s) { run<decltype(s)>(pool, a); }); });
}

}  // namespace ddp::cpu
