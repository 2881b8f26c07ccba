// The small matrix products inside attention: 8 rows x 32 columns in registers, operands in L1 or L2. oneDNN's per-call
// cost would outweigh products of this size, and the strides here let one kernel serve A and A^T, rows and panels,
// without copies.
//
// An element E of an operand is an f32, or a pair of bf16 that are neighbours in depth, which AVX512-BF16 multiplies
// with another pair and adds to an f32. Depths and strides count elements, 4 bytes each.
#pragma once

#include <cstdint>

#include "kernels/cpu/vec.h"

namespace ddp::cpu {

inline constexpr int64_t kTileRows = 8;

struct [[gnu::may_alias]] BFloat16Pair {
  uint32_t bits;  // the lower half comes first in depth
};

DDP_INLINE v16 broadcast(float x) { return splat(x); }
DDP_INLINE v16 lanes(const float* p) { return load(p); }
DDP_INLINE v16 multiply_add(v16 total, v16 a, v16 b) { return total + a * b; }

DDP_INLINE v16u broadcast(BFloat16Pair x) { return x.bits - v16u{}; }
DDP_INLINE v16u lanes(const BFloat16Pair* p) {
  v16u x;
  std::memcpy(&x, p, sizeof(x));
  return x;
}
#ifdef __AVX512BF16__
inline constexpr bool kMultipliesPairs = true;
DDP_INLINE v16 multiply_add(v16 total, v16u a, v16u b) {
  return v16(_mm512_dpbf16_ps(__m512(total), __m512bh(a), __m512bh(b)));
}
#else
inline constexpr bool kMultipliesPairs = false;
#endif

// A(i, k) = data[i * row + k * depth]: read one element at a time, so any strides do.
template <class E>
struct LeftOperand {
  const E* data;
  int64_t row, depth;
};

// B(k, 16 v ... 16 v + 15) = data[k * depth + v * vec ...]: whole vectors, so that columns are padded to 16. Rows of a
// matrix have {depth: row length, vec: 16}, panels of 16 columns {depth: 16, vec: panel length}.
template <class E>
struct RightOperand {
  const E* data;
  int64_t depth, vec;
};

// One register tile of C (8, 16 kVecs) (=|+=) A B, summed over k = 0 .. depth - 1 in order.
template <int kVecs, bool kAccumulate, class E>
[[gnu::noinline]] void tile_product(float* c, int64_t c_row, LeftOperand<E> a, RightOperand<E> b, int64_t depth) {
  v16 total[kTileRows][kVecs];
#pragma GCC unroll 8
  for (int i = 0; i < kTileRows; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < kVecs; ++v) total[i][v] = kAccumulate ? load(c + i * c_row + v * kVecWidth) : v16{};
  const E *a_low = a.data, *a_high = a.data + 4 * a.row;
  const E* b_row = b.data;
  for (int64_t k = 0; k < depth; ++k) {
    decltype(lanes(b_row)) bk[kVecs];
#pragma GCC unroll 2
    for (int v = 0; v < kVecs; ++v) bk[v] = lanes(b_row + v * b.vec);
#pragma GCC unroll 8
    for (int i = 0; i < kTileRows; ++i) {
      const auto ai = broadcast(i < 4 ? a_low[i * a.row] : a_high[(i - 4) * a.row]);
#pragma GCC unroll 2
      for (int v = 0; v < kVecs; ++v) total[i][v] = multiply_add(total[i][v], ai, bk[v]);
    }
    a_low += a.depth, a_high += a.depth, b_row += b.depth;
  }
#pragma GCC unroll 8
  for (int i = 0; i < kTileRows; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < kVecs; ++v) store(c + i * c_row + v * kVecWidth, total[i][v]);
}

// Of a product: rows of C, a multiple of 8, vectors of 16 in a row, and the depth of the sums.
struct ProductShape {
  int64_t rows, vecs, depth;
};

// C (=|+=) A B, C with rows of c_row floats. A pair of B's panels stays in L1 while all rows pass.
template <bool kAccumulate, class E>
inline void product(float* c, int64_t c_row, const ProductShape& shape, const LeftOperand<E>& a,
                    const RightOperand<E>& b) {
  for (int64_t v = 0; v < shape.vecs; v += 2) {
    const RightOperand<E> panel = {b.data + v * b.vec, b.depth, b.vec};
    for (int64_t i = 0; i < shape.rows; i += kTileRows) {
      const LeftOperand<E> band = {a.data + i * a.row, a.row, a.depth};
      float* out = c + i * c_row + v * kVecWidth;
      if (shape.vecs - v >= 2) {
        tile_product<2, kAccumulate>(out, c_row, band, panel, shape.depth);
      } else {
        tile_product<1, kAccumulate>(out, c_row, band, panel, shape.depth);
      }
    }
  }
}

}  // namespace ddp::cpu
