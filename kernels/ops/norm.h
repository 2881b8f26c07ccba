// Layer norm with the residual stream, and batch norm. Conventions: kernels/ops.h.
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

// ---- batch norm over the rows of (M,C): statistics are a column's ----

inline constexpr int64_t kBatchNormRows = 128;  // that one partial sum covers

// y (M,C) = (x - mean) rstd w + b with rstd = 1 / sqrt(biased variance + eps); mean, rstd (C) f32. mean_seen,
// variance_seen (C) f64 (=|+= where accumulate_seen) the mean and the unbiased variance of these rows; may be empty. M
// is at least 2: one row has no unbiased variance. A block of kBatchNormRows rows is summed in f32 by its distances
// from the first row of x; blocks are merged in double, by the formula of Chan, Golub and LeVeque (1979), so that a
// mean many deviations from zero costs no accuracy. workspace: batchnorm_workspace(M, C) bytes.
struct BatchNormForward {
  TensorView y, mean, rstd;
  TensorView mean_seen = {}, variance_seen = {};
  TensorView x, w, b, workspace;
  float eps = 1e-5f;
  bool accumulate_seen = false;
};
void batchnorm_forward(const Exec& exec, const BatchNormForward& a);

// y (M,C) = (x - mean) / sqrt(variance + eps) w + b with statistics that are given: mean, variance (C) f32.
struct BatchNormEvaluate {
  TensorView y, x, mean, variance, w, b;
  float eps = 1e-5f;
};
void batchnorm_evaluate(const Exec& exec, const BatchNormEvaluate& a);

// dx (M,C) = w rstd (dy - mean of dy - xhat mean of dy xhat) with xhat = (x - mean) rstd and means over rows; dw, db
// (C) G (=|+= where accumulate) the sums of dy xhat and of dy. dx may be dy. workspace: batchnorm_workspace(M, C)
// bytes.
struct BatchNormBackward {
  TensorView dx, dw, db, dy, x, mean, rstd, w, workspace;
  bool accumulate = false;
};
void batchnorm_backward(const Exec& exec, const BatchNormBackward& a);
int64_t batchnorm_workspace(int64_t m, int64_t c);  // bytes

using NormOps = OpList<LayerNormForward, LayerNormBackward, BatchNormForward, BatchNormEvaluate, BatchNormBackward>;

}  // namespace ddp
