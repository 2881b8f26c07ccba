#include "kernels/ops/elementwise.h"

#include "kernels/ops/front_door.h"

namespace ddp {

void gelu_forward(const Exec& exec, const GeluForward& a) {
  check_shape("gelu_forward", "y", a.y, a.x.shape, storage_type("gelu_forward", exec, a.x));
  submit(exec, "gelu_forward", 0, a, {a.x}, {a.y});
}

void gelu_backward(const Exec& exec, const GeluBackward& a) {
  const DType type = storage_type("gelu_backward", exec, a.x);
  check_shape("gelu_backward", "dy", a.dy, a.x.shape, type);
  check_shape("gelu_backward", "dx", a.dx, a.x.shape, type);
  submit(exec, "gelu_backward", 0, a, {a.dy, a.x}, {a.dx});
}

void cast(const Exec& exec, const Cast& a) {
  check_shape("cast", "y", a.y, a.x.shape, storage_type("cast", exec, a.y));
  check_shape("cast", "x", a.x, {a.x.numel()}, storage_type("cast", exec, a.x));
  submit(exec, "cast", 0, a, {a.x}, {a.y});
}

void add_into(const Exec& exec, const AddInto& a) {
  const DType type = a.x.dtype == DType::f64 ? DType::f64 : wide(storage_type("add_into", exec, a.x));
  check_shape("add_into", "y", a.y, a.x.shape, type);
  submit(exec, "add_into", 0, a, {a.x}, {a.y});
}

void sum_into(const Exec& exec, const SumInto& a) {
  check_shape("sum_into", "out", a.out, {1}, DType::f64);
  check_shape("sum_into", "x", a.x, {a.x.numel()});
  submit(exec, "sum_into", 0, a, {a.x}, {a.out});
}

}  // namespace ddp
