// Attention. Conventions: kernels/ops.h.
#pragma once

#include <cstdint>

#include "kernels/dropout.h"
#include "kernels/exec.h"
#include "kernels/op_list.h"
#include "runtime/device/tensor.h"

namespace ddp {

// out (B,T,C) = dropout(softmax(q k^T / sqrt(D), causal)) v by head, from qkv (B,T,3C) = q | k | v, each H heads of D.
// Keeps only lse (B,H,T), the log-sum-exp of each row of scores: never a T x T matrix in memory (FlashAttention, Dao et
// al.). lse is f32. With 16-bit storage probabilities are rounded to S before the product with v, as tensor cores take
// them.
struct AttentionForward {
  TensorView out, lse, qkv;
  int64_t heads = 1;
  Dropout dropout = {};
};
void attention_forward(const Exec& exec, const AttentionForward& a);

// dqkv (B,T,3C) = gradient with respect to qkv. workspace: attention_workspace(B, T, H) bytes.
struct AttentionBackward {
  TensorView dqkv, dout, out, qkv, lse, workspace;
  int64_t heads = 1;
  Dropout dropout = {};
};
void attention_backward(const Exec& exec, const AttentionBackward& a);
int64_t attention_workspace(int64_t b, int64_t t, int64_t h);  // bytes

using AttentionOps = OpList<AttentionForward, AttentionBackward>;

}  // namespace ddp
