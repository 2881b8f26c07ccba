// Attention that never holds a T x T matrix (FlashAttention, Dao et al., 2022), shaped for a CPU: 16 queries at a time
// against all the keys that they see, a band of scores that stays in L1 or L2, so that each row's softmax is exact and
// needs no rescaling. Where it is causal only 16 x 16 tiles on or below the diagonal are computed. Backward recomputes
// the probabilities from the log-sum-exp and visits each tile once (5 products). A task is a head of a sample (forward:
// 256 queries of it), sums run over keys and queries in order: the bits depend on a sample's length and D alone. With
// 16-bit storage S, P and dS are rounded to S before they are multiplied, as tensor cores take them; bf16 operands are
// multiplied in pairs where the machine can, everything else is widened to f32 as it is packed.
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

// Lengths are on the device: one outside 1 ... T must not become an access anywhere in memory.
template <class Args>
Head head_of(const Args& a, const HeadShape& s, int64_t head) {
  const int64_t sample = head / s.h, length = a.lengths ? a.lengths.template as<int32_t>()[sample] : s.t;
  DDP_CHECK(length >= 1 && length <= s.t, "attention: a length of {} of {} positions", length, s.t);
  return {.shape = s, .sample = sample, .index = head % s.h, .length = length, .causal = a.causal};
}

// The dropout of one head's probabilities.
struct HeadDropout {
  const DropoutMask& mask;
  const Head& head;

  bool active() const { return mask.active(); }
  void tile(int64_t q, int64_t k, v16 (&keep)[kVecWidth]) const {
    mask.attention_tile(head.sample, head.index, q, k, keep);
  }
};

// Scores of 16 queries from `q` on and the first `keys` keys, rows `stride` apart.
struct Band {
  float* data;
  int64_t stride;
  int64_t q, keys;
};

// Scores of keys that a query does not see become -infinity: in the tile on the diagonal those after the query, else in
// the last tile those past the length.
void hide_keys(Band scores, const Head& head) {
  const int64_t last = scores.keys - kVecWidth;
  if (!head.causal && head.length == scores.keys) return;
  for (int i = 0; i < kVecWidth; ++i) {
    float* tile = scores.data + i * scores.stride + last;
    const int32_t last_seen = head.causal ? i : int32_t(head.length - last) - 1;
    store(tile, kVecIndex <= last_seen ? load(tile) : splat(-std::numeric_limits<float>::infinity()));
  }
}

struct RowSums {
  v16 top, sum;  // lane i: the maximum of row i, and its sum of exp(score - top)
};

// Scores become dropout(exp(scale * score - top)) in place, as M; the sums are those before dropout.
template <class S>
RowSums exponentiate(Band scores, float scale, const HeadDropout& dropout) {
  RowSums out;
  v16 sums[kVecWidth] = {}, keep[kVecWidth];
  for (int i = 0; i < kVecWidth; ++i) {
    const float* row = scores.data + i * scores.stride;
    v16 top = load(row);
    for (int64_t k = kVecWidth; k < scores.keys; k += kVecWidth) top = max(load(row + k), top);
    out.top[i] = max(top) * scale;
  }
  for (int64_t k = 0; k < scores.keys; k += kVecWidth) {
    if (dropout.active()) dropout.tile(scores.q, k, keep);
    for (int i = 0; i < kVecWidth; ++i) {
      float* row = scores.data + i * scores.stride;
      const v16 e = expv(load(row + k) * scale - out.top[i]);
      sums[i] += e;
      store_operand<S>(row, k, dropout.active() ? e * keep[i] : e);
    }
  }
  for (int i = 0; i < kVecWidth; ++i) out.sum[i] = sum(sums[i]);
  return out;
}

// Forward of one head, a task at a time.
template <class S>
class ForwardHead {
 public:
  ForwardHead(const Head& head, const AttentionForward& a, const DropoutMask& mask)
      : s_(head.shape), head_(head), a_(a), dropout_{mask, head_} {}

  // Queries [begin, end), those past the length too.
  void run(int64_t begin, int64_t end) {
    const int64_t live_end = std::min(end, head_.length);
    if (begin < live_end) {
      pack_keys(head_.causal ? live_end : head_.length);
      for (int64_t q = begin; q < live_end; q += kVecWidth) tile(q, std::min<int64_t>(kVecWidth, live_end - q));
    }
    const int64_t past = std::max(begin, head_.length);
    if (past >= end) return;
    zero_rows(out_rows(a_.out.as<S>(), head_).part(past, end - past), s_);
    std::fill(lse() + past, lse() + end, 0.0f);
  }

 private:
  using E = ElementOf<S>;
  using M = MemoryOf<E>;

  float* lse() const { return statistics(a_.lse.as<float>(), head_); }

  void pack_keys(int64_t keys) {
    const int64_t padded = round_up(keys, kVecWidth);
    const S* qkv = a_.qkv.as<S>();
    pack_rows(rows_, part_rows(qkv, head_, kKey).part(0, keys), padded, s_, 1.0f);
    pack_panels(k_panels_, rows_, padded, s_);
    pack_rows(rows_, part_rows(qkv, head_, kValue).part(0, keys), padded, s_, 1.0f);
    v_ = depth_rows(v_pairs_, s_.dp, PackedMatrix<M>{rows_, padded, s_.dp, s_.dp});
  }

  // 16 queries, `live` of them within the length.
  void tile(int64_t q, int64_t live) {
    const Band scores{band_, s_.band_stride, q, head_.keys_of(q)};
    pack_rows(q_, part_rows(a_.qkv.as<S>(), head_, kQuery).part(q, live), kVecWidth, s_, s_.q_scale);
    product<false>(band_, s_.band_stride, {kVecWidth, scores.keys / kVecWidth, s_.depth}, left_rows<E>(q_, s_),
                   panels(k_panels_, s_));
    hide_keys(scores, head_);
    const RowSums sums = exponentiate<S>(scores, s_.score_scale, dropout_);
    product<false>(o_, s_.dp, {kVecWidth, s_.dp / kVecWidth, scores.keys / s_.per_element}, left_band<E>(band_, s_),
                   RightOperand<E>{v_, s_.dp, kVecWidth});
    const v16 inverse = 1.0f / sums.sum;
    unpack_rows(out_rows(a_.out.as<S>(), head_).part(q, live), o_, s_, [&](int64_t r) { return inverse[r]; });
    store(lse() + q, sums.top + logv(sums.sum), live);
  }

  const HeadShape& s_;
  const Head head_;
  const AttentionForward& a_;
  const HeadDropout dropout_;
  const int64_t matrix_ = s_.tp * s_.dp, band_size_ = kVecWidth * s_.band_stride, tile_ = kVecWidth * s_.dp;
  Pieces pieces_{3 * matrix_ + band_size_ + 2 * tile_};
  E *k_panels_ = pieces_.take<E>(matrix_), *v_pairs_ = pieces_.take<E>(matrix_);
  M *rows_ = pieces_.take<M>(matrix_), *q_ = pieces_.take<M>(tile_);
  float *band_ = pieces_.take<float>(band_size_), *o_ = pieces_.take<float>(tile_);
  const E* v_ = nullptr;
};

template <class S>
void run(ThreadPool& pool, const AttentionForward& a) {
  const HeadShape s = HeadShape::of<ElementOf<S>>(a.qkv, a.heads);
  const DropoutMask mask(a.dropout);
  const int64_t blocks = ceil_div(s.t, kForwardQueries);
  pool.parallel_for(s.b * s.h * blocks, [&](int64_t task) {
    const int64_t begin = task % blocks * kForwardQueries;
    ForwardHead<S>(head_of(a, s, task / blocks), a, mask).run(begin, std::min(s.t, begin + kForwardQueries));
  });
}

// delta = row sums of dout * out: what the softmax's gradient subtracts.
template <class S>
void row_dots(float* delta, const HeadRows<S>& dout, const HeadRows<S>& out, int64_t d) {
  for (int64_t t = 0; t < dout.count; ++t) {
    const S *left = dout.first + t * dout.stride, *right = out.first + t * out.stride;
    prefetch_row(left, dout.stride, d);
    prefetch_row(right, out.stride, d);
    v16 total{};
    for (int64_t i = 0; i < d; i += kVecWidth) total += load(left + i, d - i) * load(right + i, d - i);
    delta[t] = sum(total);
  }
}

struct RowStatistics {
  v16 lse, delta;  // lane i: of row i
};

// Scores become dropout(p), p = exp(scale * score - lse), and dp = dout v^T, rows as far apart, becomes
// ds = p * (dropout(dp) - delta); both in place as M.
template <class S>
void differentiate(Band scores, float* dp, float scale, const RowStatistics& of, const HeadDropout& dropout) {
  v16 keep[kVecWidth];
  for (int64_t k = 0; k < scores.keys; k += kVecWidth) {
    if (dropout.active()) dropout.tile(scores.q, k, keep);
    for (int i = 0; i < kVecWidth; ++i) {
      float *score_row = scores.data + i * scores.stride, *dp_row = dp + i * scores.stride;
      const v16 p = expv(load(score_row + k) * scale - of.lse[i]), dpi = load(dp_row + k);
      store_operand<S>(score_row, k, dropout.active() ? p * keep[i] : p);
      store_operand<S>(dp_row, k, p * ((dropout.active() ? dpi * keep[i] : dpi) - of.delta[i]));
    }
  }
}

// Backward of one head: by bands of 32 queries, each of which finishes its dq and adds to dk and dv.
template <class S>
class BackwardHead {
 public:
  BackwardHead(const Head& head, const AttentionBackward& a, const DropoutMask& mask)
      : s_(head.shape), head_(head), a_(a), dropout_{mask, head_} {}

  void run() {
    const auto dout = out_rows(a_.dout.as<S>(), head_).part(0, head_.length);
    row_dots(delta_, dout, out_rows(a_.out.as<S>(), head_).part(0, head_.length), s_.d);
    pack_keys();
    for (int64_t begin = 0; begin < head_.padded_length(); begin += kBackwardQueries) {
      const int64_t padded = std::min(kBackwardQueries, head_.padded_length() - begin),
                    live = std::min(padded, head_.length - begin);
      pack_rows(q_, part(kQuery).part(begin, live), padded, s_, s_.q_scale);
      pack_rows(dout_, dout.part(begin, live), padded, s_, 1.0f);
      for (int64_t i = 0; i < padded; i += kVecWidth) tile(begin + i, i);
      unpack_rows(gradient(kQuery).part(begin, live), dq_, s_, [&](int64_t) { return s_.scale; });
      add_to_keys(begin, padded);
    }
    unpack_rows(gradient(kKey).part(0, head_.length), dk_, s_, [&](int64_t) { return s_.score_scale; });
    unpack_rows(gradient(kValue).part(0, head_.length), dv_, s_, [](int64_t) { return 1.0f; });
    for (const Part of : {kQuery, kKey, kValue}) zero_rows(gradient(of).part(head_.length, s_.t - head_.length), s_);
  }

 private:
  using E = ElementOf<S>;
  using M = MemoryOf<E>;

  HeadRows<const S> part(Part of) const { return part_rows<const S>(a_.qkv.as<S>(), head_, of); }
  HeadRows<S> gradient(Part of) const { return part_rows(a_.dqkv.as<S>(), head_, of); }

  void pack_keys() {
    const int64_t rows = head_.padded_length();
    pack_rows(rows_, part(kValue).part(0, head_.length), rows, s_, 1.0f);
    pack_panels(v_panels_, rows_, rows, s_);
    pack_rows(rows_, part(kKey).part(0, head_.length), rows, s_, 1.0f);
    pack_panels(k_panels_, rows_, rows, s_);
    k_ = depth_rows(k_pairs_, s_.dp, PackedMatrix<M>{rows_, rows, s_.dp, s_.dp});
    std::fill(dk_, dk_ + rows * s_.dp, 0.0f);
    std::fill(dv_, dv_ + rows * s_.dp, 0.0f);
  }

  // Probabilities, their gradients and dq of 16 queries from `q` on, row `row` of the band.
  void tile(int64_t q, int64_t row) {
    const Band p{p_ + row * s_.band_stride, s_.band_stride, q, head_.keys_of(q)};
    float* ds = ds_ + row * s_.band_stride;
    const ProductShape scores{kVecWidth, p.keys / kVecWidth, s_.depth};
    product<false>(p.data, p.stride, scores, left_rows<E>(q_ + row * s_.dp, s_), panels(k_panels_, s_));
    product<false>(ds, p.stride, scores, left_rows<E>(dout_ + row * s_.dp, s_), panels(v_panels_, s_));
    hide_keys(p, head_);
    const int64_t live = head_.length - q;
    differentiate<S>(p, ds, s_.score_scale, {load(lse_ + q, live), load(delta_ + q, live)}, dropout_);
    product<false>(dq_ + row * s_.dp, s_.dp, {kVecWidth, s_.dp / kVecWidth, p.keys / s_.per_element},
                   left_band<E>(ds, s_), RightOperand<E>{k_, s_.dp, kVecWidth});
  }

  // dk += ds^T q and dv += p^T dout, from the band of `padded` queries from `begin` on.
  void add_to_keys(int64_t begin, int64_t padded) {
    const int64_t keys = head_.keys_of(begin + padded - kVecWidth), band_row = s_.band_stride * s_.per_element;
    const auto by_query = [&](E* pairs, const float* of_band) {
      return depth_rows(pairs, s_.band_stride,
                        PackedMatrix<M>{reinterpret_cast<const M*>(of_band), padded, keys, band_row});
    };
    const E *p = by_query(p_pairs_, p_), *ds = by_query(ds_pairs_, ds_);
    const E *q = depth_rows(q_pairs_, s_.dp, PackedMatrix<M>{q_, padded, s_.dp, s_.dp}),
            *dout = depth_rows(dout_pairs_, s_.dp, PackedMatrix<M>{dout_, padded, s_.dp, s_.dp});
    // From the queries `first` ... of the band on to `count` keys from `key` on.
    const auto accumulate = [&](int64_t key, int64_t count, int64_t first) {
      const int64_t depth = first / s_.per_element, at = depth * s_.band_stride + key, from = depth * s_.dp;
      const ProductShape shape{count, s_.dp / kVecWidth, (padded - first) / s_.per_element};
      product<true>(dk_ + key * s_.dp, s_.dp, shape, LeftOperand<E>{ds + at, 1, s_.band_stride},
                    RightOperand<E>{q + from, s_.dp, kVecWidth});
      product<true>(dv_ + key * s_.dp, s_.dp, shape, LeftOperand<E>{p + at, 1, s_.band_stride},
                    RightOperand<E>{dout + from, s_.dp, kVecWidth});
    };
    // Where it is causal, keys up to the first 16 queries' diagonal are seen by all of the band, the last 16 by its
    // second half.
    const int64_t seen_by_all = head_.keys_of(begin);
    accumulate(0, seen_by_all, 0);
    if (keys > seen_by_all) accumulate(seen_by_all, keys - seen_by_all, kVecWidth);
  }

  const HeadShape& s_;
  const Head head_;
  const AttentionBackward& a_;
  const HeadDropout dropout_;
  const float* lse_ = statistics(a_.lse.as<float>(), head_);
  float* delta_ = statistics(static_cast<float*>(a_.workspace.data), head_);
  const int64_t matrix_ = s_.tp * s_.dp, band_ = kBackwardQueries * s_.band_stride, tile_ = kBackwardQueries * s_.dp;
  Pieces pieces_{6 * matrix_ + 4 * band_ + 5 * tile_};
  E *k_panels_ = pieces_.take<E>(matrix_), *v_panels_ = pieces_.take<E>(matrix_), *k_pairs_ = pieces_.take<E>(matrix_);
  M* rows_ = pieces_.take<M>(matrix_);
  float *dk_ = pieces_.take<float>(matrix_), *dv_ = pieces_.take<float>(matrix_);
  float *p_ = pieces_.take<float>(band_), *ds_ = pieces_.take<float>(band_);  // (32, Tp)
  E *p_pairs_ = pieces_.take<E>(band_), *ds_pairs_ = pieces_.take<E>(band_);
  M *q_ = pieces_.take<M>(tile_), *dout_ = pieces_.take<M>(tile_);  // (32, Dp)
  E *q_pairs_ = pieces_.take<E>(tile_), *dout_pairs_ = pieces_.take<E>(tile_);
  float* dq_ = pieces_.take<float>(tile_);
  const E* k_ = nullptr;
};

template <class S>
void run(ThreadPool& pool, const AttentionBackward& a) {
  const HeadShape s = HeadShape::of<ElementOf<S>>(a.qkv, a.heads);
  const DropoutMask mask(a.dropout);
  pool.parallel_for(s.b * s.h, [&](int64_t head) { BackwardHead<S>(head_of(a, s, head), a, mask).run(); });
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
