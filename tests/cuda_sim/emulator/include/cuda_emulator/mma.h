// ldmatrix and mma.m16n8k8 on the emulator, each a warp operation with the fragments of the PTX ISA. Contracts are
// those of kernels/cuda/mma.cuh, which includes this. Sums run over k in ascending order in f32; hardware rounds
// otherwise.
#pragma once

#include <cuda_emulator/language.h>

namespace ddp::sim {

struct LdmatrixOperand {
  uint4 row;
  unsigned result[4];
};

template <bool kTransposed>
DDP_SIM_UNCHECKED void ldmatrix_lanes(Warp& warp, unsigned) {
  uint16_t block[4][8][8];
  for (int l = 0; l < 32; ++l)
    std::memcpy(block[l / 8][l % 8], &static_cast<LdmatrixOperand*>(warp.lane[l]->operand)->row, sizeof(uint4));
  for (int l = 0; l < 32; ++l) {
    auto& mine = *static_cast<LdmatrixOperand*>(warp.lane[l]->operand);
    const int row = l / 4, column = l % 4 * 2;
    for (int i = 0; i < 4; ++i) {
      const unsigned low = kTransposed ? block[i][column][row] : block[i][row][column];
      const unsigned high = kTransposed ? block[i][column + 1][row] : block[i][row][column + 1];
      mine.result[i] = low | high << 16;
    }
  }
}

// The read of the lane's row is the kernel's own, so that the checked build sees it.
template <bool kTransposed>
void ldmatrix(unsigned (&r)[4], const void* row) {
  LdmatrixOperand operand{*static_cast<const uint4*>(row), {}};
  warp_operation(0xffffffffu, &operand, &ldmatrix_lanes<kTransposed>);
  std::copy(operand.result, operand.result + 4, r);
}

template <int N>
struct MmaOperand {
  float (*c)[4];
  const unsigned *a, *b;
};

template <class T>
DDP_SIM_UNCHECKED float element_of(unsigned pair, int i) {
  const auto bits = uint16_t(pair >> (16 * i));
  return float(*reinterpret_cast<const T*>(&bits));
}

template <class T, int N>
DDP_SIM_UNCHECKED void mma_lanes(Warp& warp, unsigned) {
  float a[16][8], b[8][8 * N];
  for (int l = 0; l < 32; ++l) {
    const auto& from = *static_cast<MmaOperand<N>*>(warp.lane[l]->operand);
    for (int i = 0; i < 2; ++i) {
      const int k = l % 4 * 2 + i;
      a[l / 4][k] = element_of<T>(from.a[0], i);
      a[l / 4 + 8][k] = element_of<T>(from.a[1], i);
      for (int j = 0; j < N; ++j) b[k][8 * j + l / 4] = element_of<T>(from.b[j], i);
    }
  }
  for (int l = 0; l < 32; ++l) {
    const auto& to = *static_cast<MmaOperand<N>*>(warp.lane[l]->operand);
    for (int j = 0; j < N; ++j)
      for (int e = 0; e < 4; ++e) {
        const int row = l / 4 + e / 2 * 8, column = 8 * j + l % 4 * 2 + e % 2;
        float sum = to.c[j][e];
        for (int k = 0; k < 8; ++k) sum += a[row][k] * b[k][column];
        to.c[j][e] = sum;
      }
  }
}

}  // namespace ddp::sim

namespace ddp::cuda {

inline void ldmatrix_x4(unsigned (&r)[4], const void* row) { sim::ldmatrix<false>(r, row); }
inline void ldmatrix_x4_trans(unsigned (&r)[4], const void* row) { sim::ldmatrix<true>(r, row); }

template <class T, int N>
void mma_row(float (&c)[N][4], const unsigned (&a)[2], const unsigned (&b)[N]) {
  sim::MmaOperand<N> operand{c, a, b};
  sim::warp_operation(0xffffffffu, &operand, &sim::mma_lanes<T, N>);
}

}  // namespace ddp::cuda
