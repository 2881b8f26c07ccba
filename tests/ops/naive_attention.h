// Attention as it is written down first, with every tensor that a low-precision implementation would store rounded to
// that precision: its error is the measure of a fused kernel's.
#pragma once

#include "tests/ops/reference.h"

namespace ddp::test {

struct NaiveAttention {
  Vec out, dqkv;
};

// Inputs are already rounded; sums are exact. mask as in reference.h.
NaiveAttention naive_attention(const Vec& qkv, const Vec& dout, const Vec& mask, const AttentionShape& s,
                               double (*round)(double));

}  // namespace ddp::test
