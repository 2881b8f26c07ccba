// Layer norm and the residual stream. Conventions: kernels/ops.h.
#pragma once

#include <cstdint>

#include "kernels/dropout.h"
#include "kernels/exec.h"
#include "kernels/op_list.h"
#include "runtime/device/tensor.h"

namespace ddp {

// residual_out (M,C) = residual_in (M,C) + dropout(branch (M,C)); y (M,C) = layernorm(residual_out) w + b; mean, rstd
// (M) f32. The norm is of residual_out as it is stored. branch may be empty: then residual_out is not written (may be
// empty) and y is the norm of residual_in. residual_out may be residual_in.
struct LayerNormForward {
  TensorView residual_out = {};
  TensorView y, mean, rstd, residual_in;
  TensorView branch = {};
  TensorView w, b;
  float eps = 1e-5f;
  Dropout dropout = {};
};
void layernorm_forward(const Exec& exec, const LayerNormForward& a);

// dresidual (M,C) (=|+= where accumulate_residual) the norm's gradient with respect to its input x (M,C);
// dbranch (M,C) = dropout mask of the finished dresidual, empty where there is no dropout (the branch's gradient is
// dresidual); dw, db (C) G (=|+= where accumulate). workspace: layernorm_workspace(M, C) bytes.
struct LayerNormBackward {
  TensorView dresidual;
  TensorView dbranch = {};
  TensorView dw, db, dy, x, mean, rstd, w, workspace;
  bool accumulate_residual = true;
  bool accumulate = false;
  Dropout dropout = {};
};
void layernorm_backward(const Exec& exec, const LayerNormBackward& a);
int64_t layernorm_workspace(int64_t m, int64_t c);  // bytes

using NormOps = OpList<LayerNormForward, LayerNormBackward>;

}  // namespace ddp
