// Embeddings. Conventions: kernels/ops.h.
#pragma once

#include <cstdint>

#include "kernels/dropout.h"
#include "kernels/exec.h"
#include "kernels/op_list.h"
#include "runtime/device/tensor.h"

namespace ddp {

// out (B,T,C) = dropout(wte (V,C)[tokens (B,T) i32] + wpe (>= T, C)[t]).
struct EmbeddingForward {
  TensorView out, tokens, wte, wpe;
  Dropout dropout = {};
};
void embedding_forward(const Exec& exec, const EmbeddingForward& a);

// dwte (V,C) f32 += scatter of dropout(dout (B,T,C)), in the order of positions; dwpe (>= T, C) G (=|+= where
// accumulate) its sum over samples, rows past T zero where "=". order (B*T) i32, for backends that sum by token (CUDA;
// elsewhere may be empty): the positions 0 .. B*T-1 sorted by token, ascending for equal tokens.
struct EmbeddingBackward {
  TensorView dwte, dwpe, dout, tokens;
  TensorView order = {};
  bool accumulate = false;
  Dropout dropout = {};
};
void embedding_backward(const Exec& exec, const EmbeddingBackward& a);

using EmbeddingOps = OpList<EmbeddingForward, EmbeddingBackward>;

}  // namespace ddp
