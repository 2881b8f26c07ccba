// The two warp instructions behind attention in 16 bits: ldmatrix brings 8 x 8 blocks from shared memory into
// fragments, mma.m16n8k8 multiplies fragments and accumulates in f32. They are there from sm_75 on, mma of bf16 from
// sm_80: before, a kernel that multiplies bf16 compiles and traps (the launcher refuses such a run). wmma would hide
// which lane owns which element; attention needs to know, because the probabilities that one product leaves in C
// fragments are the A fragments of the next and never touch shared memory.
//
// Fragments (PTX ISA, "Matrix fragments for mma.m16n8k8"), lane = 4 g + t:
//   A (16 x 8)  a[0]: row g,     columns 2t, 2t + 1    a[1]: row g + 8
//   B (8 x 8)   b:    rows 2t, 2t + 1 of column g
//   C (16 x 8)  c[0], c[1]: row g, columns 2t, 2t + 1  c[2], c[3]: row g + 8
// So two neighbouring values of C, packed, are an A fragment.
#pragma once

#include "kernels/cuda/storage.cuh"

#ifdef DDP_CUDA_EMULATED
#include <cuda_emulator/mma.h>
#else

namespace ddp::cuda {

// Four 8 x 8 blocks: lane 8 i + r gives the address of row r of block i (16 bytes, in shared memory), and receives in
// r[i] row lane / 4, columns 2 (lane % 4) and + 1 of block i.
__device__ __forceinline__ void ldmatrix_x4(unsigned (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(unsigned(__cvta_generic_to_shared(row)))
               : "memory");
}

// The same of the transposed blocks.
__device__ __forceinline__ void ldmatrix_x4_trans(unsigned (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(unsigned(__cvta_generic_to_shared(row)))
               : "memory");
}

__device__ __forceinline__ void mma(half, float (&c)[4], const unsigned (&a)[2], unsigned b) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(b));
}

__device__ __forceinline__ void mma(bfloat16, float (&c)[4], const unsigned (&a)[2], unsigned b) {
#if __CUDA_ARCH__ >= 800
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(b));
#else
  __trap();
#endif
}

// c[j] += a b[j] for N neighbouring blocks of 16 x 8, of elements T.
template <class T, int N>
__device__ __forceinline__ void mma_row(float (&c)[N][4], const unsigned (&a)[2], const unsigned (&b)[N]) {
#pragma unroll
  for (int j = 0; j < N; ++j) mma(T{}, c[j], a, b[j]);
}

}  // namespace ddp::cuda

#endif
