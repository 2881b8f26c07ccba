// Attention. Conventions: kernels/ops.h.
#pragma once

#include <cstdint>

#include "kernels/dropout.h"
#include "kernels/exec.h"
#include "kernels/op_list.h"
#include "runtime/device/tensor.h"

namespace ddp {

// out (B,T,C) = dropout(softmax(q k^T / sqrt(D))) v by head, from qkv (B,T,3C) = q | k | v, each H heads of D. A query
// sees the keys at or before its position where `causal`, else all. lengths (B) i32, may be empty: of each sample only
// the first lengths[b] positions take part, 1 <= lengths[b] <= T; out, lse and dqkv are 0 in the rows past them. A
// length outside is an error of the op on the CPU; CUDA cannot raise one, there all of the sample's rows are NaN. Keeps
// only lse (B,H,T), the log-sum-exp of each row of scores: never a T x T matrix in memory (FlashAttention, Dao et al.).
// lse is f32. With 16-bit storage probabilities are rounded to S before the product with v, as tensor cores take them.
// D is any on the CPU, on CUDA a multiple of 8, at most 128; otherwise config (78).
struct AttentionForward {
  TensorView out, lse, qkv;
  TensorView lengths = {};
  int64_t heads = 1;
  bool causal = true;
  Dropout dropout = {};
};
void attention_forward(const Exec& exec, const AttentionForward& a);

// dqkv (B,T,3C) = gradient with respect to qkv. What out, lse, lengths, causal and dropout were in forward they are
// here. workspace: attention_workspace(B, T, H) bytes.
struct AttentionBackward {
  TensorView dqkv, dout, out, qkv, lse, workspace;
  TensorView lengths = {};
  int64_t heads = 1;
  bool causal = true;
  Dropout dropout = {};
};
void attention_backward(const Exec& exec, const AttentionBackward& a);
int64_t attention_workspace(int64_t b, int64_t t, int64_t h);  // bytes

using AttentionOps = OpList<AttentionForward, AttentionBackward>;

}  // namespace ddp
