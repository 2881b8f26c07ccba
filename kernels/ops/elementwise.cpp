#include "kernels/ops/elementwise.h"

#include "kernels/ops/front_door.h"

namespace ddp {
namespace {

template <class Args>
void activation(const Exec& exec, const char* op, const Args& a) {
  check_shape(op, "y", a.y, a.x.shape, storage_type(op, exec, a.x));
  submit(exec, op, 0, a, {a.x}, {a.y});
}

// `kept` is what forward left: its input or its output.
template <class Args>
void activation_gradient(const Exec& exec, const char* op, const Args& a, const TensorView& kept) {
  const DType type = storage_type(op, exec, kept);
  check_shape(op, "dy", a.dy, kept.shape, type);
  check_shape(op, "dx", a.dx, kept.shape, type);
  submit(exec, op, 0, a, {a.dy, kept}, {a.dx});
}

}  // namespace

void gelu_forward(const Exec& exec, const GeluForward& a) { activation(exec, "gelu_forward", a); }
void gelu_backward(const Exec& exec, const GeluBackward& a) { activation_gradient(exec, "gelu_backward", a, a.x); }

void relu_forward(const Exec& exec, const ReluForward& a) { activation(exec, "relu_forward", a); }
void relu_backward(const Exec& exec, const ReluBackward& a) { activation_gradient(exec, "relu_backward", a, a.y); }

void tanh_forward(const Exec& exec, const TanhForward& a) { activation(exec, "tanh_forward", a); }
void tanh_backward(const Exec& exec, const TanhBackward& a) { activation_gradient(exec, "tanh_backward", a, a.y); }

void apply_dropout(const Exec& exec, const ApplyDropout& args) {
  constexpr const char* kOp = "apply_dropout";
  ApplyDropout a = args;
  a.x = as_rows(kOp, a.x), a.y = as_rows(kOp, a.y);
  check_dropout(kOp, a.dropout);
  activation(exec, kOp, a);
}

void cast(const Exec& exec, const Cast& a) {
  check_shape("cast", "y", a.y, a.x.shape, storage_type("cast", exec, a.y));
  check_shape("cast", "x", a.x, {a.x.numel()}, storage_type("cast", exec, a.x));
  submit(exec, "cast", 0, a, {a.x}, {a.y});
}

void add_into(const Exec& exec, const AddInto& a) {
  const DType type = a.x.dtype == DType::f64 ? DType::f64 : storage_type("add_into", exec, a.x);
  check_shape("add_into", "y", a.y, a.x.shape, a.y.dtype == type ? type : wide(type));
  submit(exec, "add_into", 0, a, {a.x}, {a.y});
}

}  // namespace ddp
