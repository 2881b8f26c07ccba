// What every test of attention demands of a backend, whatever the shape: results and gradients as loops in double give
// them, the same bits in every setting, and rows past a sample's length zero. What must not be read is not a number.
#pragma once

#include "tests/ops/harness.h"

namespace ddp::test {

// One call forward, then one backward.
struct AttentionCall {
  AttentionCall(DType type, const AttentionShape& shape, float p, float scale = 1.5f);

  DType type;
  AttentionShape shape;
  Stored qkv, dout;  // NaN in the rows past the lengths
  Dropout dropout;
  Vec mask;  // of dropout, empty without

  // out, lse, dqkv, and the workspace.
  Outputs run() const;
};

// Outputs of `call` against double: f32 within its own rounding, 16 bits within twice the error of a naive
// implementation in the same type.
void check_attention(const AttentionCall& call, const Outputs& got);
void check_attention(DType type, const AttentionShape& shape, float p, float scale = 1.5f);

inline constexpr double kAttentionTolerance = 4e-6;  // relative to the largest: sums of up to T * D f32 products
Dropout attention_dropout(float p);                  // of up to two samples

}  // namespace ddp::test
