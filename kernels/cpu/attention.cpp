// Causal attention that never holds a T x T matrix (FlashAttention, Dao et al., 2022), shaped for a CPU: 16 queries at
// a time against all their keys, a band of scores that stays in L1 or L2, so that each row's softmax is exact and needs
// no rescaling. Only 16 x 16 tiles on or below the diagonal are computed. Backward recomputes the probabilities from
// the log-sum-exp and visits each tile once (5 products). A task is a head of a sample (forward: 256 queries of it),
// sums run over keys and queries in order: the bits depend on T and D alone. Operands are widened to f32 as they are
// packed; with 16-bit storage S, P and dS are rounded to S before they are multiplied, as tensor cores take them.
//
// Legend: B samples, T positions, C width, H heads, D = C / H; Tp, Dp: T and D rounded up to 16, the padding is zero.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/dropout.h"
#include "kernels/cpu/storage.h"
#include "kernels/cpu/tile_product.h"
#include "runtime/device/cpu_device.h"

namespace ddp {

int64_t attention_workspace(int64_t b, int64_t t, int64_t h) {
  return b * h * t * int64_t(sizeof(float));
}  // delta (B,H,T)

namespace cpu {
namespace {

constexpr int64_t kForwardQueries = 256;  // of a task
constexpr int64_t kBackwardQueries = 32;  // of a band: sums over queries are this deep before dk and dv are touched

struct HeadShape {
  int64_t b, t, h, d, c, tp, dp;
  int64_t band_stride;  // of a row of scores; the 16 keep rows of a power-of-two T out of each other's cache sets
  float scale;          // 1 / sqrt(D)

  HeadShape(const TensorView& qkv, int64_t heads)
      : b(qkv.dim(0)),
        t(qkv.dim(1)),
        h(heads),
        d(qkv.dim(2) / 3 / heads),
        c(qkv.dim(2) / 3),
        tp(round_up(t, kLanes)),
        dp(round_up(d, kLanes)),
        band_stride(tp + kLanes),
        scale(float(1.0 / std::sqrt(double(d)))) {}
};

enum Part : int64_t { kQuery, kKey, kValue };

// Offset in (B,T,3C) of one head's queries, keys or values at position `t`.
int64_t qkv_at(const HeadShape& s, int64_t sample, int64_t head, Part part, int64_t t) {
  return (sample * s.t + t) * 3 * s.c + part * s.c + head * s.d;
}

// A head's rows lie 3C apart, each on another page, where the hardware does not prefetch: ask for the row 16 further
// on.
template <class S>
void prefetch_row(const S* row, int64_t stride, int64_t d) {
  for (int64_t i = 0; i < d; i += 64 / int64_t(sizeof(S))) __builtin_prefetch(row + kLanes * stride + i);
}

// to (padded_rows, Dp) = scale * from (rows, D) with rows `stride` apart; zero padding.
template <class S>
void pack_rows(float* to, const S* from, int64_t stride, int64_t rows, int64_t padded_rows, const HeadShape& s,
               float scale) {
  for (int64_t r = 0; r < rows; ++r) {
    prefetch_row(from + r * stride, stride, s.d);
    for (int64_t i = 0; i < s.d; i += kLanes) store(to + r * s.dp + i, load(from + r * stride + i, s.d - i) * scale);
  }
  std::fill(to + rows * s.dp, to + padded_rows * s.dp, 0.0f);
}

// to = panels of the transpose of from (rows, D): panel j (Dp, 16) holds rows 16 j ... 16 j + 15 as columns.
template <class S>
void pack_panels(float* to, const S* from, int64_t stride, int64_t rows, const HeadShape& s) {
  for (int64_t r = 0; r < rows; r += kLanes) {
    for (int64_t k = 0; k < kLanes; ++k) prefetch_row(from + (r + k) * stride, stride, s.d);
    for (int64_t i = 0; i < s.d; i += kLanes) {
      v16 tile[kLanes];
      for (int64_t k = 0; k < kLanes; ++k) tile[k] = r + k < rows ? load(from + (r + k) * stride + i, s.d - i) : v16{};
      transpose(tile);
      for (int64_t k = 0; k < kLanes; ++k) store(to + r * s.dp + (i + k) * kLanes, tile[k]);
    }
  }
}

// to (rows, D), rows `stride` apart, = factor[row] * from (rows, Dp).
template <class S, class Factor>
void unpack_rows(S* to, int64_t stride, const float* from, int64_t rows, const HeadShape& s, Factor factor) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < s.d; i += kLanes)
      store(to + r * stride + i, load(from + r * s.dp + i) * factor(r), s.d - i);
  }
}

// Scores of the tile on the diagonal: keys after the query become -infinity.
void mask_diagonal(float* tile, int64_t stride) {
  for (int i = 0; i < kLanes; ++i) {
    const v16 row = load(tile + i * stride);
    store(tile + i * stride, kLaneIndex <= i ? row : splat(-std::numeric_limits<float>::infinity()));
  }
}

struct RowSums {
  v16 top, sum;  // lane i: the maximum of row i, and its sum of exp(score - top)
};

// Scores (16, keys) become dropout(exp(score - top)); the sums are those before dropout.
template <class S>
RowSums exponentiate(float* band, int64_t stride, int64_t keys, const DropoutMask& mask, int64_t sample, int64_t head,
                     int64_t q) {
  RowSums out;
  v16 sums[kLanes] = {}, keep[kLanes];
  for (int i = 0; i < kLanes; ++i) {
    v16 top = load(band + i * stride);
    for (int64_t k = kLanes; k < keys; k += kLanes) top = max(load(band + i * stride + k), top);
    out.top[i] = max(top);
  }
  for (int64_t k = 0; k < keys; k += kLanes) {
    if (mask.active()) mask.attention_tile(sample, head, q, k, keep);
    for (int i = 0; i < kLanes; ++i) {
      float* at = band + i * stride + k;
      const v16 e = expv(load(at) - out.top[i]);
      sums[i] += e;
      store(at, rounded_to<S>(mask.active() ? e * keep[i] : e));
    }
  }
  for (int i = 0; i < kLanes; ++i) out.sum[i] = sum(sums[i]);
  return out;
}

// Queries [begin, end) of one head.
template <class S>
void forward_head(const HeadShape& s, const AttentionForward& a, const DropoutMask& mask, int64_t sample, int64_t head,
                  int64_t begin, int64_t end) {
  const S* qkv = a.qkv.as<S>();
  S* out = a.out.as<S>() + sample * s.t * s.c + head * s.d;
  float* lse = a.lse.as<float>() + (sample * s.h + head) * s.t;
  const int64_t stride = 3 * s.c, padded_end = round_up(end, kLanes);

  float* k_panels = thread_scratch(2 * s.tp * s.dp + kLanes * (s.band_stride + 2 * s.dp));
  float* v = k_panels + s.tp * s.dp;
  float* band = v + s.tp * s.dp;
  float* q = band + kLanes * s.band_stride;
  float* o = q + kLanes * s.dp;
  pack_panels(k_panels, qkv + qkv_at(s, sample, head, kKey, 0), stride, end, s);
  pack_rows(v, qkv + qkv_at(s, sample, head, kValue, 0), stride, end, padded_end, s, 1.0f);

  for (int64_t q0 = begin; q0 < end; q0 += kLanes) {
    const int64_t rows = std::min<int64_t>(kLanes, end - q0), keys = q0 + kLanes;
    pack_rows(q, qkv + qkv_at(s, sample, head, kQuery, q0), stride, rows, kLanes, s, s.scale);
    product<false>(band, s.band_stride, kLanes, keys / kLanes, {q, s.dp, 1}, {k_panels, kLanes, s.dp * kLanes}, s.d);
    mask_diagonal(band + q0, s.band_stride);
    const RowSums sums = exponentiate<S>(band, s.band_stride, keys, mask, sample, head, q0);
    product<false>(o, s.dp, kLanes, s.dp / kLanes, {band, s.band_stride, 1}, {v, s.dp, kLanes}, keys);
    const v16 inverse = 1.0f / sums.sum;
    unpack_rows(out + q0 * s.c, s.c, o, rows, s, [&](int64_t r) { return inverse[r]; });
    store(lse + q0, sums.top + logv(sums.sum), rows);
  }
}

template <class S>
void run(ThreadPool& pool, const AttentionForward& a) {
  const HeadShape s(a.qkv, a.heads);
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
    for (int64_t i = 0; i < s.d; i += kLanes)
      total += load(dout + t * s.c + i, s.d - i) * load(out + t * s.c + i, s.d - i);
    delta[t] = sum(total);
  }
}

// Scores become dropout(p), p = exp(score - lse), and dp = dout v^T becomes ds = p * (dropout(dp) - delta); both (16,
// keys).
template <class S>
void differentiate(float* scores, float* dp, int64_t stride, int64_t keys, v16 lse, v16 delta, const DropoutMask& mask,
                   int64_t sample, int64_t head, int64_t q) {
  v16 keep[kLanes];
  for (int64_t k = 0; k < keys; k += kLanes) {
    if (mask.active()) mask.attention_tile(sample, head, q, k, keep);
    for (int i = 0; i < kLanes; ++i) {
      const int64_t at = i * stride + k;
      const v16 p = expv(load(scores + at) - lse[i]), dpi = load(dp + at);
      store(scores + at, rounded_to<S>(mask.active() ? p * keep[i] : p));
      store(dp + at, rounded_to<S>(p * ((mask.active() ? dpi * keep[i] : dpi) - delta[i])));
    }
  }
}

template <class S>
void backward_head(const HeadShape& s, const AttentionBackward& a, const DropoutMask& mask, int64_t sample,
                   int64_t head) {
  const S* qkv = a.qkv.as<S>();
  S* dqkv = a.dqkv.as<S>();
  const S* dout_rows = a.dout.as<S>() + sample * s.t * s.c + head * s.d;
  const float* lse = a.lse.as<float>() + (sample * s.h + head) * s.t;
  float* delta = static_cast<float*>(a.workspace.data) + (sample * s.h + head) * s.t;
  row_dots(delta, dout_rows, a.out.as<S>() + sample * s.t * s.c + head * s.d, s);

  const int64_t stride = 3 * s.c, matrix = s.tp * s.dp, band = kBackwardQueries * s.band_stride,
                rows = kBackwardQueries * s.dp;
  float* k_panels = thread_scratch(5 * matrix + 2 * band + 3 * rows);
  float *v_panels = k_panels + matrix, *k = v_panels + matrix, *dk = k + matrix, *dv = dk + matrix;
  float *p = dv + matrix, *ds = p + band;                     // (32, Tp)
  float *q = ds + band, *dout = q + rows, *dq = dout + rows;  // (32, Dp); q is scaled
  pack_panels(k_panels, qkv + qkv_at(s, sample, head, kKey, 0), stride, s.t, s);
  pack_panels(v_panels, qkv + qkv_at(s, sample, head, kValue, 0), stride, s.t, s);
  pack_rows(k, qkv + qkv_at(s, sample, head, kKey, 0), stride, s.t, s.tp, s, 1.0f);
  std::fill(dk, dv + matrix, 0.0f);

  for (int64_t begin = 0; begin < s.tp; begin += kBackwardQueries) {
    const int64_t padded = std::min(kBackwardQueries, s.tp - begin), live = std::min(padded, s.t - begin);
    pack_rows(q, qkv + qkv_at(s, sample, head, kQuery, begin), stride, live, padded, s, s.scale);
    pack_rows(dout, dout_rows + begin * s.c, s.c, live, padded, s, 1.0f);
    for (int64_t i = 0; i < padded; i += kLanes) {
      const int64_t q0 = begin + i, keys = q0 + kLanes;
      float *pi = p + i * s.band_stride, *dsi = ds + i * s.band_stride;
      product<false>(pi, s.band_stride, kLanes, keys / kLanes, {q + i * s.dp, s.dp, 1},
                     {k_panels, kLanes, s.dp * kLanes}, s.d);
      product<false>(dsi, s.band_stride, kLanes, keys / kLanes, {dout + i * s.dp, s.dp, 1},
                     {v_panels, kLanes, s.dp * kLanes}, s.d);
      mask_diagonal(pi + q0, s.band_stride);
      differentiate<S>(pi, dsi, s.band_stride, keys, load(lse + q0, s.t - q0), load(delta + q0, s.t - q0), mask, sample,
                       head, q0);
      product<false>(dq + i * s.dp, s.dp, kLanes, s.dp / kLanes, {dsi, s.band_stride, 1}, {k, s.dp, kLanes}, keys);
    }
    unpack_rows(dqkv + qkv_at(s, sample, head, kQuery, begin), stride, dq, live, s, [&](int64_t) { return s.scale; });
    // dk += ds^T q and dv += p^T dout: keys up to the first 16 queries' diagonal see all of the band, the last 16 its
    // second half.
    const auto accumulate = [&](int64_t key, int64_t keys, int64_t first) {
      const int64_t at = first * s.band_stride + key, from = first * s.dp, to = key * s.dp;
      product<true>(dk + to, s.dp, keys, s.dp / kLanes, {ds + at, 1, s.band_stride}, {q + from, s.dp, kLanes},
                    padded - first);
      product<true>(dv + to, s.dp, keys, s.dp / kLanes, {p + at, 1, s.band_stride}, {dout + from, s.dp, kLanes},
                    padded - first);
    };
    accumulate(0, begin + kLanes, 0);
    if (padded > kLanes) accumulate(begin + kLanes, kLanes, kLanes);
  }
  unpack_rows(dqkv + qkv_at(s, sample, head, kKey, 0), stride, dk, s.t, s, [](int64_t) { return 1.0f; });
  unpack_rows(dqkv + qkv_at(s, sample, head, kValue, 0), stride, dv, s.t, s, [](int64_t) { return 1.0f; });
}

template <class S>
void run(ThreadPool& pool, const AttentionBackward& a) {
  const HeadShape s(a.qkv, a.heads);
  const DropoutMask mask(a.dropout);
  pool.parallel_for(s.b * s.h, [&](int64_t head) { backward_head<S>(s, a, mask, head / s.h, head % s.h); });
}

}  // namespace

void attention_forward(Stream& stream, const AttentionForward& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) { with_storage(a.qkv.dtype, [&](auto s) { run<decltype(s)>(pool, a); }); });
}

void attention_backward(Stream& stream, const AttentionBackward& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) { with_storage(a.qkv.dtype, [&](auto s) { run<decltype(s)>(pool, a); }); });
}

}  // namespace cpu
}  // namespace ddp
