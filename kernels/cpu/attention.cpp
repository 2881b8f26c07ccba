// Causal attention that never holds a T x T matrix (FlashAttention, Dao et al., 2022), shaped for a CPU: 16 queries at
// a time against all their keys, a band of scores that stays in L1 or L2, so that each row's softmax is exact and needs
// no rescaling. Only 16 x 16 tiles on or below the diagonal are computed. Backward recomputes the probabilities from
// the log-sum-exp and visits each tile once (5 products). A task is a head of a sample (forward: 256 queries of it),
// sums run over keys and queries in order: the bits depend on T and D alone. With 16-bit storage S, P and dS are
// rounded to S before they are multiplied, as tensor cores take them; bf16 operands are multiplied in pairs where the
// machine can, everything else is widened to f32 as it is packed.
//
// Legend: B samples, T positions, C width, H heads, D = C / H; Tp, Dp: T and D rounded up to whole vectors, the padding
// is zero; E element of a product's operand, M its memory (attention_operands.h).
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/attention_operands.h"
#include "kernels/cpu/dropout.h"
#include "kernels/cpu/run.h"
#include "kernels/cpu/storage.h"
#include "kernels/ops/attention.h"
#include "runtime/device/cpu_device.h"

namespace ddp {

// delta (B,H,T)
int64_t attention_workspace(int64_t b, int64_t t, int64_t h) { return b * h * t * int64_t(sizeof(float)); }

namespace cpu {
namespace {

constexpr int64_t kForwardQueries = 256;  // of a task
constexpr int64_t kBackwardQueries = 32;  // of a band: sums over queries are this deep before dk and dv are touched

// Scores of the tile on the diagonal: keys after the query become -infinity.
void mask_diagonal(float* tile, int64_t stride) {
  for (int i = 0; i < kVecWidth; ++i) {
    const v16 row = load(tile + i * stride);
    store(tile + i * stride, kVecIndex <= i ? row : splat(-std::numeric_limits<float>::infinity()));
  }
}

struct RowSums {
  v16 top, sum;  // lane i: the maximum of row i, and its sum of exp(score - top)
};

// Scores (16, keys) become dropout(exp(scale * score - top)) in place, as M; the sums are those before dropout.
template <class S>
RowSums exponentiate(float* band, int64_t stride, int64_t keys, float scale, const DropoutMask& mask, int64_t sample,
                     int64_t head, int64_t q) {
  RowSums out;
  v16 sums[kVecWidth] = {}, keep[kVecWidth];
  for (int i = 0; i < kVecWidth; ++i) {
    v16 top = load(band + i * stride);
    for (int64_t k = kVecWidth; k < keys; k += kVecWidth) top = max(load(band + i * stride + k), top);
    out.top[i] = max(top) * scale;
  }
  for (int64_t k = 0; k < keys; k += kVecWidth) {
    if (mask.active()) mask.attention_tile(sample, head, q, k, keep);
    for (int i = 0; i < kVecWidth; ++i) {
      const v16 e = expv(load(band + i * stride + k) * scale - out.top[i]);
      sums[i] += e;
      store_operand<S>(band + i * stride, k, mask.active() ? e * keep[i] : e);
    }
  }
  for (int i = 0; i < kVecWidth; ++i) out.sum[i] = sum(sums[i]);
  return out;
}

// Queries [begin, end) of one head.
template <class S>
void forward_head(const HeadShape& s, const AttentionForward& a, const DropoutMask& mask, int64_t sample, int64_t head,
                  int64_t begin, int64_t end) {
  using E = ElementOf<S>;
  using M = MemoryOf<E>;
  const S* qkv = a.qkv.as<S>();
  S* out = a.out.as<S>() + sample * s.t * s.c + head * s.d;
  float* lse = a.lse.as<float>() + (sample * s.h + head) * s.t;
  const int64_t stride = 3 * s.c, padded_end = round_up(end, kVecWidth), matrix = s.tp * s.dp;

  Pieces pieces(3 * matrix + kVecWidth * (s.band_stride + 2 * s.dp));
  E *k_panels = pieces.take<E>(matrix), *v_pairs = pieces.take<E>(matrix);
  M *rows = pieces.take<M>(matrix), *q = pieces.take<M>(kVecWidth * s.dp);
  float *band = pieces.take<float>(kVecWidth * s.band_stride), *o = pieces.take<float>(kVecWidth * s.dp);
  pack_rows(rows, qkv + qkv_at(s, sample, head, kKey, 0), stride, end, padded_end, s, 1.0f);
  pack_panels(k_panels, rows, padded_end, s);
  pack_rows(rows, qkv + qkv_at(s, sample, head, kValue, 0), stride, end, padded_end, s, 1.0f);
  const E* v = depth_rows(v_pairs, rows, padded_end, s.dp, s.dp, s.dp);

  for (int64_t q0 = begin; q0 < end; q0 += kVecWidth) {
    const int64_t live = std::min<int64_t>(kVecWidth, end - q0), keys = q0 + kVecWidth;
    pack_rows(q, qkv + qkv_at(s, sample, head, kQuery, q0), stride, live, kVecWidth, s, s.q_scale);
    product<false>(band, s.band_stride, kVecWidth, keys / kVecWidth, left_rows<E>(q, s), panels(k_panels, s), s.depth);
    mask_diagonal(band + q0, s.band_stride);
    const RowSums sums = exponentiate<S>(band, s.band_stride, keys, s.score_scale, mask, sample, head, q0);
    product<false>(o, s.dp, kVecWidth, s.dp / kVecWidth, left_band<E>(band, s), RightOperand<E>{v, s.dp, kVecWidth},
                   keys / s.per_element);
    const v16 inverse = 1.0f / sums.sum;
    unpack_rows(out + q0 * s.c, s.c, o, live, s, [&](int64_t r) { return inverse[r]; });
    store(lse + q0, sums.top + logv(sums.sum), live);
  }
}

template <class S>
void run(ThreadPool& pool, const AttentionForward& a) {
  const HeadShape s = HeadShape::of<ElementOf<S>>(a.qkv, a.heads);
  const DropoutMask mask(a.dropout);
  const int64_t blocks = ceil_div(s.t, kForwardQueries);
  pool.parallel_for(s.b * s.h * blocks, [&](int64_t task) {
    const int64_t head = task / blocks, begin = task % blocks * kForwardQueries;
    forward_head<S>(s, a, mask, head / s.h, head % s.h, begin, std::min(s.t, begin + kForwardQueries));
  });
}

// delta (T) = row sums of dout * out: what the softmax's gradient subtracts.
template <class S>
void row_dots(float* delta, const S* dout, const S* out, const HeadShape& s) {
  for (int64_t t = 0; t < s.t; ++t) {
    prefetch_row(dout + t * s.c, s.c, s.d);
    prefetch_row(out + t * s.c, s.c, s.d);
    v16 total{};
    for (int64_t i = 0; i < s.d; i += kVecWidth)
      total += load(dout + t * s.c + i, s.d - i) * load(out + t * s.c + i, s.d - i);
    delta[t] = sum(total);
  }
}

// Scores become dropout(p), p = exp(scale * score - lse), and dp = dout v^T becomes ds = p * (dropout(dp) - delta);
// both (16, keys), in place as M.
template <class S>
void differentiate(float* scores, float* dp, int64_t stride, int64_t keys, float scale, v16 lse, v16 delta,
                   const DropoutMask& mask, int64_t sample, int64_t head, int64_t q) {
  v16 keep[kVecWidth];
  for (int64_t k = 0; k < keys; k += kVecWidth) {
    if (mask.active()) mask.attention_tile(sample, head, q, k, keep);
    for (int i = 0; i < kVecWidth; ++i) {
      const int64_t row = i * stride;
      const v16 p = expv(load(scores + row + k) * scale - lse[i]), dpi = load(dp + row + k);
      store_operand<S>(scores + row, k, mask.active() ? p * keep[i] : p);
      store_operand<S>(dp + row, k, p * ((mask.active() ? dpi * keep[i] : dpi) - delta[i]));
    }
  }
}

template <class S>
void backward_head(const HeadShape& s, const AttentionBackward& a, const DropoutMask& mask, int64_t sample,
                   int64_t head) {
  using E = ElementOf<S>;
  using M = MemoryOf<E>;
  const S* qkv = a.qkv.as<S>();
  S* dqkv = a.dqkv.as<S>();
  const S* dout_rows = a.dout.as<S>() + sample * s.t * s.c + head * s.d;
  const float* lse = a.lse.as<float>() + (sample * s.h + head) * s.t;
  float* delta = static_cast<float*>(a.workspace.data) + (sample * s.h + head) * s.t;
  row_dots(delta, dout_rows, a.out.as<S>() + sample * s.t * s.c + head * s.d, s);

  const int64_t stride = 3 * s.c, matrix = s.tp * s.dp, band = kBackwardQueries * s.band_stride,
                rows_of_band = kBackwardQueries * s.dp;
  Pieces pieces(6 * matrix + 4 * band + 5 * rows_of_band);
  E *k_panels = pieces.take<E>(matrix), *v_panels = pieces.take<E>(matrix), *k_pairs = pieces.take<E>(matrix);
  M* rows = pieces.take<M>(matrix);
  float *dk = pieces.take<float>(matrix), *dv = pieces.take<float>(matrix);
  float *p = pieces.take<float>(band), *ds = pieces.take<float>(band);  // (32, Tp)
  E *p_pairs = pieces.take<E>(band), *ds_pairs = pieces.take<E>(band);
  M *q = pieces.take<M>(rows_of_band), *dout = pieces.take<M>(rows_of_band);  // (32, Dp)
  E *q_pairs = pieces.take<E>(rows_of_band), *dout_pairs = pieces.take<E>(rows_of_band);
  float* dq = pieces.take<float>(rows_of_band);
  pack_rows(rows, qkv + qkv_at(s, sample, head, kValue, 0), stride, s.t, s.tp, s, 1.0f);
  pack_panels(v_panels, rows, s.tp, s);
  pack_rows(rows, qkv + qkv_at(s, sample, head, kKey, 0), stride, s.t, s.tp, s, 1.0f);
  pack_panels(k_panels, rows, s.tp, s);
  const E* k = depth_rows(k_pairs, rows, s.tp, s.dp, s.dp, s.dp);
  std::fill(dk, dk + matrix, 0.0f);
  std::fill(dv, dv + matrix, 0.0f);

  for (int64_t begin = 0; begin < s.tp; begin += kBackwardQueries) {
    const int64_t padded = std::min(kBackwardQueries, s.tp - begin), live = std::min(padded, s.t - begin);
    pack_rows(q, qkv + qkv_at(s, sample, head, kQuery, begin), stride, live, padded, s, s.q_scale);
    pack_rows(dout, dout_rows + begin * s.c, s.c, live, padded, s, 1.0f);
    for (int64_t i = 0; i < padded; i += kVecWidth) {
      const int64_t q0 = begin + i, keys = q0 + kVecWidth;
      float *pi = p + i * s.band_stride, *dsi = ds + i * s.band_stride;
      product<false>(pi, s.band_stride, kVecWidth, keys / kVecWidth, left_rows<E>(q + i * s.dp, s), panels(k_panels, s),
                     s.depth);
      product<false>(dsi, s.band_stride, kVecWidth, keys / kVecWidth, left_rows<E>(dout + i * s.dp, s),
                     panels(v_panels, s), s.depth);
      mask_diagonal(pi + q0, s.band_stride);
      differentiate<S>(pi, dsi, s.band_stride, keys, s.score_scale, load(lse + q0, s.t - q0),
                       load(delta + q0, s.t - q0), mask, sample, head, q0);
      product<false>(dq + i * s.dp, s.dp, kVecWidth, s.dp / kVecWidth, left_band<E>(dsi, s),
                     RightOperand<E>{k, s.dp, kVecWidth}, keys / s.per_element);
    }
    unpack_rows(dqkv + qkv_at(s, sample, head, kQuery, begin), stride, dq, live, s, [&](int64_t) { return s.scale; });
    // dk += ds^T q and dv += p^T dout: keys up to the first 16 queries' diagonal see all of the band, the last 16 its
    // second half.
    const auto by_query = [&](E* pairs, const float* of_band) {
      return depth_rows(pairs, reinterpret_cast<const M*>(of_band), padded, begin + padded, s.band_stride,
                        s.band_stride * s.per_element);
    };
    const E *p_t = by_query(p_pairs, p), *ds_t = by_query(ds_pairs, ds);
    const E *q_t = depth_rows(q_pairs, q, padded, s.dp, s.dp, s.dp),
            *dout_t = depth_rows(dout_pairs, dout, padded, s.dp, s.dp, s.dp);
    const auto accumulate = [&](int64_t key, int64_t keys, int64_t first) {
      const int64_t depth = first / s.per_element, at = depth * s.band_stride + key, from = depth * s.dp,
                    to = key * s.dp, rest = (padded - first) / s.per_element;
      product<true>(dk + to, s.dp, keys, s.dp / kVecWidth, LeftOperand<E>{ds_t + at, 1, s.band_stride},
                    RightOperand<E>{q_t + from, s.dp, kVecWidth}, rest);
      product<true>(dv + to, s.dp, keys, s.dp / kVecWidth, LeftOperand<E>{p_t + at, 1, s.band_stride},
                    RightOperand<E>{dout_t + from, s.dp, kVecWidth}, rest);
    };
    accumulate(0, begin + kVecWidth, 0);
    if (padded > kVecWidth) accumulate(begin + kVecWidth, kVecWidth, kVecWidth);
  }
  unpack_rows(dqkv + qkv_at(s, sample, head, kKey, 0), stride, dk, s.t, s, [&](int64_t) { return s.score_scale; });
  unpack_rows(dqkv + qkv_at(s, sample, head, kValue, 0), stride, dv, s.t, s, [](int64_t) { return 1.0f; });
}

template <class S>
void run(ThreadPool& pool, const AttentionBackward& a) {
  const HeadShape s = HeadShape::of<ElementOf<S>>(a.qkv, a.heads);
  const DropoutMask mask(a.dropout);
  pool.parallel_for(s.b * s.h, [&](int64_t head) { backward_head<S>(s, a, mask, head / s.h, head % s.h); });
}

}  // namespace

template <>
void run(Stream& stream, const AttentionForward& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) { with_storage(a.qkv.dtype, [&](auto s) { run<decltype(s)>(pool, a); }); });
}

template <>
void run(Stream& stream, const AttentionBackward& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) { with_storage(a.qkv.dtype, [&](auto s) { run<decltype(s)>(pool, a); }); });
}

}  // namespace cpu
}  // namespace ddp
