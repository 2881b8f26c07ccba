// Embeddings, and rows by their indices. Conventions: kernels/ops.h.
#pragma once

#include <cstdint>

#include "kernels/dropout.h"
#include "kernels/exec.h"
#include "kernels/op_list.h"
#include "runtime/device/tensor.h"

namespace ddp {

// out (B,T,C) = dropout(the sum of what is given, in this order): wte (V,C)[tokens (B,T) i32], wpe (>= T, C)[t], wtype
// (Y,C)[types (B,T) i32], dense (B,T,C). A table of which rows are looked up comes with its indices; at least one is
// given.
struct EmbeddingForward {
  TensorView out;
  TensorView tokens = {}, wte = {};
  TensorView wpe = {};
  TensorView types = {}, wtype = {};
  TensorView dense = {};
  Dropout dropout = {};
};
void embedding_forward(const Exec& exec, const EmbeddingForward& a);

// Of d = dropout(dout (B,T,C)), the gradients of what was given: dwte (V,C) and dwtype (Y,C) f32 += its scatter to
// tokens and types, in an order fixed by them; dwpe (>= T, C) G (=|+= where accumulate) its sum over samples, rows past
// T zero where "="; ddense (B,T,C) = d, and may be dout where it is the only one. At least one is given. order (B*T)
// i32, for backends that sum by token (CUDA; elsewhere may be empty): the positions 0 .. B*T-1 sorted by token,
// ascending for equal tokens. Types are few (CUDA reads dout once for each).
struct EmbeddingBackward {
  TensorView dwte = {}, dwpe = {}, dwtype = {}, ddense = {};
  TensorView dout;
  TensorView tokens = {}, types = {};
  TensorView order = {};
  bool accumulate = false;
  Dropout dropout = {};
};
void embedding_backward(const Exec& exec, const EmbeddingBackward& a);

// Rows of `samples` samples, N / samples and M / samples of each, in order. An index counts within its sample, so that
// positions serve as they are: row i of y is row i / (N / samples) * (M / samples) + index[i] of x.
//
// y (N,C) = x (M,C)[index (N) i32]; an index < 0 gives a row of zeros.
struct GatherRows {
  TensorView y, x, index;
  int64_t samples = 1;
};
void gather_rows(const Exec& exec, const GatherRows& a);

// The gradient of gather_rows: y (M,C) = 0 but for the rows index (N) i32 names, which are those of x (N,C). An index <
// 0 writes nothing; the others of a sample are distinct.
struct ScatterRows {
  TensorView y, x, index;
  int64_t samples = 1;
};
void scatter_rows(const Exec& exec, const ScatterRows& a);

using EmbeddingOps = OpList<EmbeddingForward, EmbeddingBackward, GatherRows, ScatterRows>;

}  // namespace ddp
