// Cross entropy of a chunk of rows, fused with its gradient. A row of 50,304 logits (200 KB in f32) comes from memory
// once: the first pass takes the running maximum and sum of exponentials span by span, the second finds the row in L2
// and overwrites it.
#include <algorithm>
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

// x = scale * (softmax(x) - onehot(target)) over the live columns, 0 in the padding.
template <class S>
void backward_row(S* x, float lse, int64_t target, float scale, int64_t live, int64_t columns) {
  for (int64_t i = 0; i < live; i += kVecWidth) {
    v16 d = expv(load(x + i, live - i) - lse) * scale;
    if (i <= target && target < i + kVecWidth) d[target - i] -= scale;
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
  const float scale = a.loss_scale == nullptr ? a.scale : a.scale * *a.loss_scale;
  const int64_t rows = ceil_div(kBlock, v);  // of a block
  pool.parallel_for(ceil_div(m, rows), [=](int64_t block) {
    for (int64_t row = block * rows; row < std::min(m, (block + 1) * rows); ++row) {
      S* x = logits + row * v;
      const int64_t target = targets[row];
      DDP_CHECK(target < live, "target {} of {} classes", target, live);
      if (target < 0) {
        loss[row] = 0.0f;
        if (a.backward) std::fill_n(x, v, S{});
        continue;
      }
      const float lse = log_sum_exp(x, live);
      loss[row] = lse - to_f32(x[target]);
      if (a.backward) backward_row(x, lse, target, scale, live, v);
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
