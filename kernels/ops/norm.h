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

// The fewest that one partial sum covers: a backend may sum more at once where there are many.
inline constexpr int64_t kBatchNormRows = 128;

// mean (C) f32 of the rows of x, rstd (C) f32 = 1 / sqrt(their biased variance + eps). mean_seen, variance_seen (C) f64
// (=|+= where accumulate_seen) their mean and unbiased variance; may be empty. M is at least 2: one row has no unbiased
// variance. A block of rows is summed in f32 by its distances from the first row of x; blocks are merged in double.
// So a mean many deviations from zero costs no accuracy. workspace: batchnorm_workspace(M, C) bytes.
struct BatchNormStatistics {
  TensorView mean, rstd;
  TensorView mean_seen = {}, variance_seen = {};
  TensorView x, workspace;
  float eps = 1e-5f;
  bool accumulate_seen = false;
};
void batchnorm_statistics(const Exec& exec, const BatchNormStatistics& a);

// The largest number that the storage type keeps as 0: half of its smallest. A ReLU's output is 0 in memory where its
// input is at most this, so that backward, which computes that input once more, sees what it would have read.
constexpr float largest_zero(DType type) {
  return type == DType::f16 ? 0x1p-25f : type == DType::bf16 ? 0x1p-134f : 0.0f;
}

// What a batch norm makes of each element x of a column: xhat w + b with xhat = (x - mean) rstd; mean (C) f32, w, b
// (C). rstd (C) f32 is a pass's own, or empty: then variance (C) f32 is given, and rstd = 1 / sqrt(variance + eps).
struct BatchNormAffine {
  TensorView mean;
  TensorView rstd = {}, variance = {};
  TensorView w, b;
  float eps = 1e-5f;
};

// y (M,C) = xhat w + b, plus residual (M,C) where it is given; then, where relu, 0 for what is <= 0. The sum and the
// ReLU are f32: y is rounded once. y may be x or residual.
struct BatchNormApply {
  TensorView y, x;
  TensorView residual = {};
  BatchNormAffine affine;
  bool relu = false;
};
void batchnorm_apply(const Exec& exec, const BatchNormApply& a);

// The gradient of statistics and apply together. With d the gradient that reaches the norm, which is dy (M,C) or, where
// relu, dy where the output was above 0, else 0:
//   dx (M,C) = w rstd (d - mean of d - xhat mean of d xhat), means over rows;
//   dw, db (C) G (=|+= where accumulate) the sums of d xhat and of d;
//   dresidual (M,C) = d, where a residual was added; else empty.
// Whether the output was above 0 is told by y (M,C), what apply wrote, where it is given (it is needed where a residual
// was added), else by xhat w + b once more, to the same bits of the gradient. affine is what apply had, with rstd. dx
// may be dy or x, dresidual may be dy; the two are not the same memory. workspace: batchnorm_workspace(M, C) bytes.
struct BatchNormBackward {
  TensorView dx, dw, db;
  TensorView dresidual = {};
  TensorView dy, x;
  TensorView y = {};
  BatchNormAffine affine;
  TensorView workspace;
  bool relu = false;
  bool accumulate = false;
};
void batchnorm_backward(const Exec& exec, const BatchNormBackward& a);
int64_t batchnorm_workspace(int64_t m, int64_t c);  // bytes

// ---- batch norm, ReLU and max pooling in one pass: the stem of a ResNet ----

// Of the pooling windows, 3 x 3 positions.
inline constexpr int64_t kPoolSize = 3, kPoolStride = 2, kPoolPadding = 1;
Shape pooled_shape(const Shape& image);  // (N,P,Q,C) of (N,H,W,C)

// y (N,P,Q,C) = the largest of relu(xhat w + b) in each window of x (N,H,W,C). index (N,P,Q,C) u8 = where it stands,
// 3 r + s for position (r, s) of the window, the first of equal ones; may be empty. A NaN is larger than any number.
struct BatchNormPool {
  TensorView y;
  TensorView index = {};
  TensorView x;
  BatchNormAffine affine;
};
void batchnorm_pool(const Exec& exec, const BatchNormPool& a);

// As batchnorm_backward, of the rows of x, with d at a position of x the sum of dy (N,P,Q,C) over the windows whose
// largest it is, in their order, where xhat w + b is above 0. dx (N,H,W,C) may be x.
struct BatchNormPoolBackward {
  TensorView dx, dw, db;
  TensorView dy, index, x;
  BatchNormAffine affine;
  TensorView workspace;  // batchnorm_workspace(N H W, C) bytes
  bool accumulate = false;
};
void batchnorm_pool_backward(const Exec& exec, const BatchNormPoolBackward& a);

using NormOps = OpList<LayerNormForward, LayerNormBackward, BatchNormStatistics, BatchNormApply, BatchNormBackward,
                       BatchNormPool, BatchNormPoolBackward>;

}  // namespace ddp
