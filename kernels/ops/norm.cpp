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
  DDP_CHECK(a.workspace && a.workspace.bytes() >= layernorm_workspace(m, c), "{}: workspace of {} bytes", kOp,
            a.workspace.bytes());
  submit(exec, kOp, 0, a, {a.dy, a.x, a.mean, a.rstd, a.w}, {a.dresidual, a.dbranch, a.dw, a.db, a.workspace});
}

}  // namespace ddp
