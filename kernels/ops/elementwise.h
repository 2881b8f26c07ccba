// Ops on each element by itself, and plain sums. Conventions: kernels/ops.h.
#pragma once

#include <cstdint>

#include "kernels/exec.h"
#include "kernels/op_list.h"
#include "runtime/device/tensor.h"

namespace ddp {

// ---- GELU (tanh form) ----

struct GeluForward {
  TensorView y, x;  // same shape
};
void gelu_forward(const Exec& exec, const GeluForward& a);

// dx = dy * gelu'(x). dx may be dy.
struct GeluBackward {
  TensorView dx, dy, x;
};
void gelu_backward(const Exec& exec, const GeluBackward& a);

// ---- conversion and sums ----

// y (n) = x (n), each rounded to the nearest, ties to even; both of any of f32, f16, bf16. A value beyond f16 becomes
// infinite.
struct Cast {
  TensorView y, x;
};
void cast(const Exec& exec, const Cast& a);

// y (n) += x (n): y f32 and x f32, f16 or bf16, or both f64.
struct AddInto {
  TensorView y, x;
};
void add_into(const Exec& exec, const AddInto& a);

// out (1) f64 (=|+= where accumulate) the sum of x (n) f32, in double, over fixed blocks.
struct SumInto {
  TensorView out, x;
  bool accumulate = false;
};
void sum_into(const Exec& exec, const SumInto& a);

using ElementwiseOps = OpList<GeluForward, GeluBackward, Cast, AddInto, SumInto>;

}  // namespace ddp
