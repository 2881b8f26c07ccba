// Tensors in host memory as values in double: f64, f32, f16 or bf16.
#pragma once

#include "runtime/device/tensor.h"
#include "tests/ops/reference.h"

namespace ddp::test {

Vec load(const TensorView& x);
void store(const TensorView& y, const Vec& values);  // each rounded to y's type
// dw (=|+= where accumulate) a gradient, a tensor of the storage type before it is added to anything.
void store_grad(const TensorView& dw, const Vec& grad, DType storage, bool accumulate);

Vec sum(Vec a, const Vec& b);

}  // namespace ddp::test
