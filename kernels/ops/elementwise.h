// Ops on each element by itself, and plain sums. Conventions: kernels/ops.h.
#pragma once

#include <cstdint>

#include "kernels/dropout.h"
#include "kernels/exec.h"
#include "kernels/op_list.h"
#include "runtime/device/tensor.h"

namespace ddp {

// ---- activations: all tensors of a call have the same shape ----

// tanh: x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))); erf: x / 2 (1 + erf(x / sqrt(2))).
enum class GeluForm : uint8_t { tanh, erf };

// y may be x.
struct GeluForward {
  TensorView y, x;
  GeluForm form = GeluForm::tanh;
};
void gelu_forward(const Exec& exec, const GeluForward& a);

// dx = dy * gelu'(x). dx may be dy.
struct GeluBackward {
  TensorView dx, dy, x;
  GeluForm form = GeluForm::tanh;
};
void gelu_backward(const Exec& exec, const GeluBackward& a);

// y = x where x > 0, else 0; NaN stays NaN. y may be x.
struct ReluForward {
  TensorView y, x;
};
void relu_forward(const Exec& exec, const ReluForward& a);

// dx = dy where y > 0, else 0, from what forward wrote; where y is NaN, dy. dx may be dy.
struct ReluBackward {
  TensorView dx, dy, y;
};
void relu_backward(const Exec& exec, const ReluBackward& a);

// y = tanh(x). y may be x.
struct TanhForward {
  TensorView y, x;
};
void tanh_forward(const Exec& exec, const TanhForward& a);

// dx = dy (1 - y^2), from what forward wrote. dx may be dy.
struct TanhBackward {
  TensorView dx, dy, y;
};
void tanh_backward(const Exec& exec, const TanhBackward& a);

// y = x * the mask of dropout, over rows of the last dimension; with dy it is the gradient. y may be x.
struct ApplyDropout {
  TensorView y, x;
  Dropout dropout = {};
};
void apply_dropout(const Exec& exec, const ApplyDropout& a);

// ---- conversion and sums ----

// y (n) = x (n), each rounded to the nearest, ties to even; both of any of f32, f16, bf16. A value beyond f16 becomes
// infinite.
struct Cast {
  TensorView y, x;
};
void cast(const Exec& exec, const Cast& a);

// y (n) += x (n): y f32 and x f32, f16 or bf16; both of the same 16 bits, the sum rounded once; or both f64.
struct AddInto {
  TensorView y, x;
};
void add_into(const Exec& exec, const AddInto& a);

using ElementwiseOps = OpList<GeluForward, GeluBackward, ReluForward, ReluBackward, TanhForward, TanhBackward,
                              ApplyDropout, Cast, AddInto>;

}  // namespace ddp
