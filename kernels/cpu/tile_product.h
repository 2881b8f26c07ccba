// The small matrix products inside attention: 8 rows x 32 columns in registers, operands in L1 or L2. oneDNN's per-call
// cost would outweigh products of this size, and the strides here let one kernel serve A and A^T, rows and panels,
// without copies.
#pragma once

#include <cstdint>

#include "kernels/cpu/vec.h"

namespace ddp::cpu {

inline constexpr int64_t kTileRows = 8;

// A(i, k) = data[i * row + k * depth]: read one element at a time, so any strides do.
struct LeftOperand {
  const float* data;
  int64_t row, depth;
};

// B(k, 16 v ... 16 v + 15) = data[k * depth + v * vec ...]: whole vectors, so that columns are padded to 16. Rows of a
// matrix have {depth: row length, vec: 16}, panels of 16 columns {depth: 16, vec: panel length}.
struct RightOperand {
  const float* data;
  int64_t depth, vec;
};

// One register tile of C (8, 16 kVecs) (=|+=) A B, summed over k = 0 .. depth - 1 in order.
template <int kVecs, bool kAccumulate>
[[gnu::noinline]] void tile_product(float* c, int64_t c_row, LeftOperand a, RightOperand b, int64_t depth) {
  v16 total[kTileRows][kVecs];
#pragma GCC unroll 8
  for (int i = 0; i < kTileRows; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < kVecs; ++v) total[i][v] = kAccumulate ? load(c + i * c_row + v * kLanes) : v16{};
  const float *a_low = a.data, *a_high = a.data + 4 * a.row;
  const float* b_row = b.data;
  for (int64_t k = 0; k < depth; ++k) {
    v16 bk[kVecs];
#pragma GCC unroll 2
    for (int v = 0; v < kVecs; ++v) bk[v] = load(b_row + v * b.vec);
#pragma GCC unroll 8
    for (int i = 0; i < kTileRows; ++i) {
      const v16 ai = splat(i < 4 ? a_low[i * a.row] : a_high[(i - 4) * a.row]);
#pragma GCC unroll 2
      for (int v = 0; v < kVecs; ++v) total[i][v] += ai * bk[v];
    }
    a_low += a.depth, a_high += a.depth, b_row += b.depth;
  }
#pragma GCC unroll 8
  for (int i = 0; i < kTileRows; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < kVecs; ++v) store(c + i * c_row + v * kLanes, total[i][v]);
}

// C (rows, 16 vecs) (=|+=) A B over `depth`; rows a multiple of 8, C with rows of c_row floats. A pair of B's panels
// stays in L1 while all rows pass.
template <bool kAccumulate>
inline void product(float* c, int64_t c_row, int64_t rows, int64_t vecs, LeftOperand a, RightOperand b, int64_t depth) {
  for (int64_t v = 0; v < vecs; v += 2) {
    const RightOperand panel = {b.data + v * b.vec, b.depth, b.vec};
    for (int64_t i = 0; i < rows; i += kTileRows) {
      const LeftOperand band = {a.data + i * a.row, a.row, a.depth};
      float* out = c + i * c_row + v * kLanes;
      if (vecs - v >= 2) {
        tile_product<2, kAccumulate>(out, c_row, band, panel, depth);
      } else {
        tile_product<1, kAccumulate>(out, c_row, band, panel, depth);
      }
    }
  }
}

}  // namespace ddp::cpu
