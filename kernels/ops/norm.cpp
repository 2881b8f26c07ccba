#include "kernels/ops/norm.h"

#include "kernels/ops/convolution.h"
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

void batchnorm_statistics(const Exec& exec, const BatchNormStatistics& args) {
  constexpr const char* kOp = "batchnorm_statistics";
  BatchNormStatistics a = args;
  a.x = as_rows(kOp, a.x);
  const DType type = storage_type(kOp, exec, a.x);
  const int64_t m = a.x.dim(0), c = a.x.dim(1);
  DDP_CHECK(m >= 2, "{}: {} rows have no variance", kOp, m);
  for (const TensorView* x : {&a.mean, &a.rstd}) check_shape(kOp, "mean, rstd", *x, {c}, wide(type));
  check_optional(kOp, "mean_seen", a.mean_seen, {c}, DType::f64);
  check_optional(kOp, "variance_seen", a.variance_seen, a.mean_seen.shape, DType::f64);
  DDP_CHECK(bool(a.mean_seen) == bool(a.variance_seen), "{}: one of two statistics", kOp);
  check_workspace(kOp, a.workspace, batchnorm_workspace(m, c));
  submit(exec, kOp, 0, a, {a.x}, {a.mean, a.rstd, a.mean_seen, a.variance_seen, a.workspace});
}

namespace {

void check_affine(const char* op, const BatchNormAffine& a, int64_t c, DType type) {
  check_shape(op, "mean", a.mean, {c}, wide(type));
  DDP_CHECK(bool(a.rstd) != bool(a.variance), "{}: one of rstd and variance", op);
  check_shape(op, "rstd, variance", a.rstd ? a.rstd : a.variance, {c}, wide(type));
  for (const TensorView* x : {&a.w, &a.b}) check_shape(op, "w, b", *x, {c}, type);
}

// dw, db and workspace of a gradient over the m rows of x.
template <class Args>
void check_sums(const char* op, const Args& a, int64_t m, int64_t c, DType type) {
  DDP_CHECK(a.affine.rstd, "{}: no rstd", op);
  check_affine(op, a.affine, c, type);
  check_weight_grad(op, "dw", a.dw, {c}, type, a.accumulate);
  check_shape(op, "db", a.db, {c}, a.dw.dtype);
  check_workspace(op, a.workspace, batchnorm_workspace(m, c));
}

}  // namespace

Shape pooled_shape(const Shape& x) {
  const Window window = {.stride = kPoolStride, .padding = kPoolPadding};
  return {x[0], num_windows(x[1], kPoolSize, window), num_windows(x[2], kPoolSize, window), x[3]};
}

void batchnorm_apply(const Exec& exec, const BatchNormApply& args) {
  constexpr const char* kOp = "batchnorm_apply";
  BatchNormApply a = args;
  a.x = as_rows(kOp, a.x), a.y = as_rows(kOp, a.y);
  const DType type = storage_type(kOp, exec, a.x);
  check_shape(kOp, "y", a.y, a.x.shape, type);
  if (a.residual) a.residual = as_rows(kOp, a.residual);
  check_optional(kOp, "residual", a.residual, a.x.shape, type);
  const BatchNormAffine& f = a.affine;
  check_affine(kOp, f, a.x.dim(1), type);
  submit(exec, kOp, 0, a, {a.x, a.residual, f.mean, f.rstd, f.variance, f.w, f.b}, {a.y});
}

void batchnorm_backward(const Exec& exec, const BatchNormBackward& args) {
  constexpr const char* kOp = "batchnorm_backward";
  BatchNormBackward a = args;
  a.x = as_rows(kOp, a.x), a.dy = as_rows(kOp, a.dy), a.dx = as_rows(kOp, a.dx);
  const DType type = storage_type(kOp, exec, a.x);
  for (const TensorView* x : {&a.dx, &a.dy}) check_shape(kOp, "dx, dy", *x, a.x.shape, type);
  for (TensorView* x : {&a.y, &a.dresidual}) {
    if (*x) *x = as_rows(kOp, *x);
    check_optional(kOp, "y, dresidual", *x, a.x.shape, type);
  }
  DDP_CHECK(!a.dresidual || a.y || !a.relu, "{}: a residual was added, and no y says where ReLU let through", kOp);
  DDP_CHECK(!a.dresidual || a.dresidual.data != a.dx.data, "{}: dresidual and dx are the same memory", kOp);
  check_sums(kOp, a, a.x.dim(0), a.x.dim(1), type);
  const BatchNormAffine& f = a.affine;
  submit(exec, kOp, 0, a, {a.dy, a.x, a.y, f.mean, f.rstd, f.w, f.b}, {a.dx, a.dw, a.db, a.dresidual, a.workspace});
}

void batchnorm_pool(const Exec& exec, const BatchNormPool& a) {
  constexpr const char* kOp = "batchnorm_pool";
  const DType type = storage_type(kOp, exec, a.x);
  DDP_CHECK(a.x.shape.rank == 4, "{}: x {}", kOp, a.x.shape.text());
  const Shape out = pooled_shape(a.x.shape);
  check_shape(kOp, "y", a.y, out, type);
  check_optional(kOp, "index", a.index, out, DType::u8);
  const BatchNormAffine& f = a.affine;
  check_affine(kOp, f, a.x.dim(3), type);
  submit(exec, kOp, 0, a, {a.x, f.mean, f.rstd, f.variance, f.w, f.b}, {a.y, a.index});
}

void batchnorm_pool_backward(const Exec& exec, const BatchNormPoolBackward& a) {
  constexpr const char* kOp = "batchnorm_pool_backward";
  const DType type = storage_type(kOp, exec, a.x);
  DDP_CHECK(a.x.shape.rank == 4, "{}: x {}", kOp, a.x.shape.text());
  const Shape out = pooled_shape(a.x.shape);
  check_shape(kOp, "dx", a.dx, a.x.shape, type);
  check_shape(kOp, "dy", a.dy, out, type);
  check_shape(kOp, "index", a.index, out, DType::u8);
  check_sums(kOp, a, a.x.numel() / a.x.dim(3), a.x.dim(3), type);
  const BatchNormAffine& f = a.affine;
  submit(exec, kOp, 0, a, {a.dy, a.index, a.x, f.mean, f.rstd, f.w, f.b}, {a.dx, a.dw, a.db, a.workspace});
}

}  // namespace ddp
