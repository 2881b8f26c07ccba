// One matrix product on the calling thread, by oneDNN: what linear.cpp spreads over the pool. A file of its own because
// dnnl.hpp is large, and because the two types go through different interfaces: f32 through sgemm (on two Zen 5 cores,
// oneDNN 2.6, slices of GPT-2 small's products run at 480-510 GFLOP/s by sgemm and at 300-450 by the matmul primitive),
// bf16 through the matmul primitive (850-1,000 GFLOP/s; weights packed beforehand would gain 7% of a product, and
// packing costs as much).
#pragma once

#include <compare>
#include <cstdint>

#include "runtime/device/float16.h"

namespace ddp::cpu {

// C (m,n) (=|+= where accumulate) A (m,k) B (k,n), row-major with rows lda, ldb, ldc elements apart; a transposed
// operand is stored as (k,m) or (n,k).
struct GemmShape {
  int64_t m = 0, n = 0, k = 0;
  bool a_transposed = false, b_transposed = false;
  int64_t lda = 0, ldb = 0, ldc = 0;
  bool accumulate = false;

  auto operator<=>(const GemmShape&) const = default;
};

// Adds bias (n) to each row, unless it is null. Sums are f32, what "+=" finds in c among the
// terms; bf16 results are rounded once. With AVX-512 a row's bits do not depend on m where m is not 1, and at least 16
// where B is transposed.
void gemm(const GemmShape& shape, const float* a, const float* b, const float* bias, float* c);
// Only where gemm_takes_bf16().
void gemm(const GemmShape& shape, const BFloat16* a, const BFloat16* b, const BFloat16* bias, float* c);
void gemm(const GemmShape& shape, const BFloat16* a, const BFloat16* b, const BFloat16* bias, BFloat16* c);

// Whether bf16 is multiplied as it is (AVX512-BF16).
bool gemm_takes_bf16();

// Whether a row's bits do not depend on how many are computed beside it, as said above (AVX-512). oneDNN 2.6 has other
// kernels for AVX2, with which they do, for some numbers of rows.
bool gemm_rows_are_independent();

}  // namespace ddp::cpu
