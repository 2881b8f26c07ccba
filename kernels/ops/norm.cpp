#include "kernels/ops/norm.h"

#include "kernels/ops/front_door.h"

namespace ddp {

void layernorm_forward(const Exec& exec, const LayerNormForward& args) {
  constexpr const char* kOp = "layernorm_forward";
  LayerNormForward a = args;
  a.residual_in = as_rows(kOp, a.residual_in);
  const DType type = storage_type(kOp, exec, a.residual_in);
  const int64_t m = a.residual_in.dim(0), c = a.residual_in.dim(1);
  a.y = as_rows(kOp, a.y);
  check_shape(kOp, "y", a.y, {m, c}, type);
  check_shape(kOp, "mean", a.mean, {m}, wide(type));
  check_shape(kOp, "rstd", a.rstd, {m}, wide(type));
  check_shape(kOp, "w", a.w, {c}, type);
  check_shape(kOp, "b", a.b, {c}, type);
  if (a.branch) {
    a.branch = as_rows(kOp, a.branch);
    a.residual_out = as_rows(kOp, a.residual_out);
    check_shape(kOp, "branch", a.branch, {m, c}, type);
    check_shape(kOp, "residual_out", a.residual_out, {m, c}, type);
    check_dropout(kOp, a.dropout);
  }
  submit(exec, kOp, 0, a, {a.residual_in, a.branch, a.w, a.b}, {a.residual_out, a.y, a.mean, a.rstd});
}

void layernorm_backward(const Exec& exec, const LayerNormBackward& args) {
  constexpr const char* kOp = "layernorm_backward";
  LayerNormBackward a = args;
  a.x = as_rows(kOp, a.x);
  const DType type = storage_type(kOp, exec, a.x);
  const int64_t m = a.x.dim(0), c = a.x.dim(1);
  a.dy = as_rows(kOp, a.dy);
  a.dresidual = as_rows(kOp, a.dresidual);
  check_shape(kOp, "dy", a.dy, {m, c}, type);
  check_shape(kOp, "dresidual", a.dresidual, {m, c}, type);
  if (a.dbranch) {
    a.dbranch = as_rows(kOp, a.dbranch);
    check_shape(kOp, "dbranch", a.dbranch, {m, c}, type);
    check_dropout(kOp, a.dropout);
  }
  check_shape(kOp, "mean", a.mean, {m}, wide(type));
  check_shape(kOp, "rstd", a.rstd, {m}, wide(type));
  check_shape(kOp, "w", a.w, {c}, type);
  check_weight_grad(kOp, "dw", a.dw, {c}, type, a.accumulate);
  check_shape(kOp, "db", a.db, {c}, a.dw.dtype);
  check_workspace(kOp, a.workspace, layernorm_workspace(m, c));
  submit(exec, kOp, 0, a, {a.dy, a.x, a.mean, a.rstd, a.w}, {a.dresidual, a.dbranch, a.dw, a.db, a.workspace});
}

// Of partial sums, (blocks, 2, C), and of their total, (2, C).
int64_t batchnorm_workspace(int64_t m, int64_t c) {
  const int64_t num_blocks = (m + kBatchNormRows - 1) / kBatchNormRows;
  return (num_blocks + 1) * 2 * c * int64_t(sizeof(float));
}

void batchnorm_forward(const Exec& exec, const BatchNormForward& args) {
  constexpr const char* kOp = "batchnorm_forward";
  BatchNormForward a = args;
  a.x = as_rows(kOp, a.x), a.y = as_rows(kOp, a.y);
  const DType type = storage_type(kOp, exec, a.x);
  const int64_t m = a.x.dim(0), c = a.x.dim(1);
  DDP_CHECK(m >= 2, "{}: {} rows have no variance", kOp, m);
  check_shape(kOp, "y", a.y, {m, c}, type);
  for (const TensorView* x : {&a.mean, &a.rstd}) check_shape(kOp, "mean, rstd", *x, {c}, wide(type));
  check_optional(kOp, "mean_seen", a.mean_seen, {c}, DType::f64);
  check_optional(kOp, "variance_seen", a.variance_seen, a.mean_seen.shape, DType::f64);
  DDP_CHECK(bool(a.mean_seen) == bool(a.variance_seen), "{}: one of two statistics", kOp);
  for (const TensorView* x : {&a.w, &a.b}) check_shape(kOp, "w, b", *x, {c}, type);
  check_workspace(kOp, a.workspace, batchnorm_workspace(m, c));
  submit(exec, kOp, 0, a, {a.x, a.w, a.b}, {a.y, a.mean, a.rstd, a.mean_seen, a.variance_seen, a.workspace});
}

void batchnorm_evaluate(const Exec& exec, const BatchNormEvaluate& args) {
  constexpr const char* kOp = "batchnorm_evaluate";
  BatchNormEvaluate a = args;
  a.x = as_rows(kOp, a.x), a.y = as_rows(kOp, a.y);
  const DType type = storage_type(kOp, exec, a.x);
  const int64_t m = a.x.dim(0), c = a.x.dim(1);
  check_shape(kOp, "y", a.y, {m, c}, type);
  for (const TensorView* x : {&a.mean, &a.variance}) check_shape(kOp, "mean, variance", *x, {c}, wide(type));
  for (const TensorView* x : {&a.w, &a.b}) check_shape(kOp, "w, b", *x, {c}, type);
  submit(exec, kOp, 0, a, {a.x, a.mean, a.variance, a.w, a.b}, {a.y});
}

void batchnorm_backward(const Exec& exec, const BatchNormBackward& args) {
  constexpr const char* kOp = "batchnorm_backward";
  BatchNormBackward a = args;
  a.x = as_rows(kOp, a.x), a.dy = as_rows(kOp, a.dy), a.dx = as_rows(kOp, a.dx);
  const DType type = storage_type(kOp, exec, a.x);
  const int64_t m = a.x.dim(0), c = a.x.dim(1);
  for (const TensorView* x : {&a.dx, &a.dy}) check_shape(kOp, "dx, dy", *x, {m, c}, type);
  for (const TensorView* x : {&a.mean, &a.rstd}) check_shape(kOp, "mean, rstd", *x, {c}, wide(type));
  check_shape(kOp, "w", a.w, {c}, type);
  check_weight_grad(kOp, "dw", a.dw, {c}, type, a.accumulate);
  check_shape(kOp, "db", a.db, {c}, a.dw.dtype);
  check_workspace(kOp, a.workspace, batchnorm_workspace(m, c));
  submit(exec, kOp, 0, a, {a.dy, a.x, a.mean, a.rstd, a.w}, {a.dx, a.dw, a.db, a.workspace});
}

}  // namespace ddp
