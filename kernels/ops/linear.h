// Linear layers. Conventions: kernels/ops.h.
#pragma once

#include <cstdint>

#include "kernels/exec.h"
#include "kernels/op_list.h"
#include "runtime/device/tensor.h"

namespace ddp {

// y (M,N) = x (M,K) w + bias (N). w is (K,N), or (N,K) where w_transposed. bias may be empty.
struct LinearForward {
  TensorView y, x, w;
  TensorView bias = {};
  bool w_transposed = false;
};
void linear_forward(const Exec& exec, const LinearForward& a);

// dx (M,K) (=|+= where accumulate) dy (M,N) w^T. What is there already is added in f32, before the one rounding.
struct LinearBackwardInput {
  TensorView dx, dy, w;
  bool w_transposed = false;
  bool accumulate = false;
};
void linear_backward_input(const Exec& exec, const LinearBackwardInput& a);

// dw G (=|+=) x^T dy, shaped as w; db (N) G (=|+=) column sums of dy, may be empty. "+=" where accumulate.
struct LinearBackwardWeight {
  TensorView dw;
  TensorView db = {};
  TensorView x, dy;
  bool w_transposed = false;
  bool accumulate = false;
};
void linear_backward_weight(const Exec& exec, const LinearBackwardWeight& a);

using LinearOps = OpList<LinearForward, LinearBackwardInput, LinearBackwardWeight>;

}  // namespace ddp
