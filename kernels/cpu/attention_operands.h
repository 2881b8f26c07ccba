// How attention's operands lie in memory: heads are packed from (B,T,3C) into rows padded with zeros, and from those
// into what tile_product.h reads. Legend as in attention.cpp; E is the element of a product's operand, M its memory:
// f32 for both, or pairs of bf16 in rows of bf16.
#pragma once

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "kernels/cpu/scratch.h"
#include "kernels/cpu/tile_product.h"
#include "runtime/device/tensor.h"

namespace ddp::cpu {

// What products of storage S are made of.
template <class S>
using ElementOf = std::conditional_t<std::is_same_v<S, BFloat16> && kMultipliesPairs, BFloat16Pair, float>;
template <class E>
using MemoryOf = std::conditional_t<std::is_same_v<E, BFloat16Pair>, BFloat16, float>;

// Of a call's heads.
struct HeadShape {
  int64_t b, t, h, d, c, tp, dp;
  int64_t depth;        // elements of a row of D
  int64_t per_element;  // numbers in an element
  int64_t band_stride;  // of a row of scores; the 16 keep rows of a power-of-two T out of each other's cache sets
  float scale;          // 1 / sqrt(D)
  float q_scale, score_scale;  // one of them is `scale`, the other 1: q is not to be rounded once more

  template <class E>
  static HeadShape of(const TensorView& qkv, int64_t heads) {
    constexpr bool kPairs = std::is_same_v<E, BFloat16Pair>;
    constexpr int64_t kNumbers = kPairs ? 2 : 1;
    const int64_t t = qkv.dim(1), c = qkv.dim(2) / 3, d = c / heads, tp = round_up(t, kVecWidth);
    const float scale = float(1.0 / std::sqrt(double(d)));
    return {.b = qkv.dim(0),
            .t = t,
            .h = heads,
            .d = d,
            .c = c,
            .tp = tp,
            .dp = round_up(d, kVecWidth * kNumbers),
            .depth = ceil_div(d, kNumbers),
            .per_element = kNumbers,
            .band_stride = tp + kVecWidth,
            .scale = scale,
            .q_scale = kPairs ? 1.0f : scale,
            .score_scale = kPairs ? scale : 1.0f};
  }
};

// The thread's scratch memory in pieces, each of whole cache lines.
class Pieces {
 public:
  explicit Pieces(int64_t floats) : next_(thread_scratch(floats)) {}
  // At most `count` floats.
  template <class T>
  T* take(int64_t count) {
    static_assert(sizeof(T) <= sizeof(float));
    float* piece = next_;
    next_ += count;
    return reinterpret_cast<T*>(piece);
  }

 private:
  float* next_;
};

// One head of one sample.
struct Head {
  const HeadShape& shape;
  int64_t sample, index;
  int64_t length;  // positions that take part
  bool causal;

  int64_t padded_length() const { return round_up(length, kVecWidth); }
  // Keys, padded, that a tile of 16 queries from `q` on sees.
  int64_t keys_of(int64_t q) const { return causal ? q + kVecWidth : padded_length(); }
};

// `count` rows of D elements, `stride` apart.
template <class S>
struct HeadRows {
  S* first;
  int64_t stride, count;

  HeadRows part(int64_t begin, int64_t n) const { return {first + begin * stride, stride, n}; }
};

enum Part : int64_t { kQuery, kKey, kValue };

// A head's queries, keys or values in (B,T,3C), its rows in (B,T,C), its T numbers in (B,H,T).
template <class S>
HeadRows<S> part_rows(S* qkv, const Head& h, Part part) {
  const HeadShape& s = h.shape;
  return {qkv + h.sample * s.t * 3 * s.c + part * s.c + h.index * s.d, 3 * s.c, s.t};
}
template <class S>
HeadRows<S> out_rows(S* out, const Head& h) {
  const HeadShape& s = h.shape;
  return {out + h.sample * s.t * s.c + h.index * s.d, s.c, s.t};
}
inline float* statistics(float* rows, const Head& h) { return rows + (h.sample * h.shape.h + h.index) * h.shape.t; }

// A head's rows lie 3C apart, each on another page, where the hardware does not prefetch: ask for the row 16 further
// on.
template <class S>
void prefetch_row(const S* row, int64_t stride, int64_t d) {
  for (int64_t i = 0; i < d; i += 64 / int64_t(sizeof(S))) __builtin_prefetch(row + kVecWidth * stride + i);
}

// to (padded_rows, Dp) = scale * from (rows, D), zero padding.
template <class M, class S>
void pack_rows(M* to, const HeadRows<S>& from, int64_t padded_rows, const HeadShape& s, float scale) {
  for (int64_t r = 0; r < from.count; ++r) {
    const S* row = from.first + r * from.stride;
    prefetch_row(row, from.stride, s.d);
    for (int64_t i = 0; i < s.dp; i += kVecWidth) store(to + r * s.dp + i, load(row + i, s.d - i) * scale);
  }
  std::fill(to + from.count * s.dp, to + padded_rows * s.dp, M{});
}

// to = panels of the transpose of packed rows: panel j (elements of a row, 16) holds rows 16 j ... 16 j + 15 as
// columns.
template <class E>
void pack_panels(E* to, const MemoryOf<E>* packed, int64_t rows, const HeadShape& s) {
  const int64_t elements = s.dp / s.per_element;
  const float* from = reinterpret_cast<const float*>(packed);  // an element is 4 bytes
  float* panels = reinterpret_cast<float*>(to);
  for (int64_t r = 0; r < rows; r += kVecWidth) {
    for (int64_t i = 0; i < elements; i += kVecWidth) {
      v16 tile[kVecWidth];
      for (int64_t k = 0; k < kVecWidth; ++k) tile[k] = load(from + (r + k) * elements + i);
      transpose(tile);
      for (int64_t k = 0; k < kVecWidth; ++k) store(panels + r * elements + (i + k) * kVecWidth, tile[k]);
    }
  }
}

// A matrix of `rows` rows, an even number, of which `columns`, a multiple of 16, are read.
template <class M>
struct PackedMatrix {
  const M* data;
  int64_t rows, columns, stride;
};

// A matrix as an operand whose depth runs over its rows: f32 is that already, each two rows of bf16 become a row of
// `pairs`, `stride` apart.
inline const float* depth_rows(float*, int64_t, const PackedMatrix<float>& matrix) { return matrix.data; }
inline const BFloat16Pair* depth_rows(BFloat16Pair* pairs, int64_t stride, const PackedMatrix<BFloat16>& matrix) {
  for (int64_t r = 0; r < matrix.rows; r += 2) {
    const BFloat16 *first = matrix.data + r * matrix.stride, *second = first + matrix.stride;
    for (int64_t i = 0; i < matrix.columns; i += kVecWidth) {
      const v16 pair = v16(v16u(load(first + i)) >> 16 | v16u(load(second + i)));
      store(reinterpret_cast<float*>(pairs + r / 2 * stride + i), pair);
    }
  }
  return pairs;
}

// to = factor(row) * from (rows, Dp).
template <class S, class Factor>
void unpack_rows(const HeadRows<S>& to, const float* from, const HeadShape& s, Factor factor) {
  for (int64_t r = 0; r < to.count; ++r) {
    for (int64_t i = 0; i < s.d; i += kVecWidth)
      store(to.first + r * to.stride + i, load(from + r * s.dp + i) * factor(r), s.d - i);
  }
}

template <class S>
void zero_rows(const HeadRows<S>& to, const HeadShape& s) {
  for (int64_t r = 0; r < to.count; ++r) std::fill_n(to.first + r * to.stride, s.d, S{});
}

// Packed rows, and the in-place results in a band of scores, as left operands whose depth runs along the row.
template <class E>
LeftOperand<E> left_rows(const MemoryOf<E>* packed, const HeadShape& s) {
  return {reinterpret_cast<const E*>(packed), s.dp / s.per_element, 1};
}
template <class E>
LeftOperand<E> left_band(const float* band, const HeadShape& s) {
  return {reinterpret_cast<const E*>(band), s.band_stride, 1};
}
template <class E>
RightOperand<E> panels(const E* panels, const HeadShape& s) {
  return {panels, kVecWidth, s.dp / s.per_element * kVecWidth};
}

// Elements k ... k + 15 of a row of scores, already read, become x rounded to S, as M: never beyond what was read.
template <class S>
DDP_INLINE void store_operand(float* row, int64_t k, v16 x) {
  using M = MemoryOf<ElementOf<S>>;
  store(reinterpret_cast<M*>(row) + k, std::is_same_v<M, S> ? x : rounded_to<S>(x));
}

}  // namespace ddp::cpu
