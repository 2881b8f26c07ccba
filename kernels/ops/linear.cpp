#include "kernels/ops/linear.h"

#include "kernels/ops/front_door.h"

namespace ddp {
namespace {

struct LinearShape {
  int64_t m, k, n;
  Shape w;
};

LinearShape linear_shape(const TensorView& x, const TensorView& y, bool w_transposed) {
  DDP_CHECK(x.shape.rank == 2 && y.shape.rank == 2, "linear: x {} and y {}", x.shape.text(), y.shape.text());
  const int64_t m = x.dim(0), k = x.dim(1), n = y.dim(1);
  return {m, k, n, w_transposed ? Shape{n, k} : Shape{k, n}};
}

}  // namespace

void linear_forward(const Exec& exec, const LinearForward& a) {
  constexpr const char* kOp = "linear_forward";
  const DType type = storage_type(kOp, exec, a.x);
  const LinearShape s = linear_shape(a.x, a.y, a.w_transposed);
  check_shape(kOp, "x", a.x, {s.m, s.k}, type);
  check_shape(kOp, "y", a.y, {s.m, s.n}, type);
  check_shape(kOp, "w", a.w, s.w, type);
  check_optional(kOp, "bias", a.bias, {s.n}, type);
  submit(exec, kOp, 2 * s.m * s.k * s.n, a, {a.x, a.w, a.bias}, {a.y});
}

void linear_backward_input(const Exec& exec, const LinearBackwardInput& a) {
  constexpr const char* kOp = "linear_backward_input";
  const DType type = storage_type(kOp, exec, a.dy);
  const LinearShape s = linear_shape(a.dx, a.dy, a.w_transposed);
  check_shape(kOp, "dx", a.dx, {s.m, s.k}, type);
  check_shape(kOp, "dy", a.dy, {s.m, s.n}, type);
  check_shape(kOp, "w", a.w, s.w, type);
  submit(exec, kOp, 2 * s.m * s.k * s.n, a, {a.dy, a.w}, {a.dx});
}

void linear_backward_weight(const Exec& exec, const LinearBackwardWeight& a) {
  constexpr const char* kOp = "linear_backward_weight";
  const DType type = storage_type(kOp, exec, a.x);
  const LinearShape s = linear_shape(a.x, a.dy, a.w_transposed);
  check_shape(kOp, "x", a.x, {s.m, s.k}, type);
  check_shape(kOp, "dy", a.dy, {s.m, s.n}, type);
  check_weight_grad(kOp, "dw", a.dw, s.w, type, a.accumulate);
  check_optional(kOp, "db", a.db, {s.n}, a.dw.dtype);
  submit(exec, kOp, 2 * s.m * s.k * s.n, a, {a.x, a.dy}, {a.dw, a.db});
}

}  // namespace ddp
