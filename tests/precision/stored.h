// Tensors in host memory as values in double: f64, f32, f16 or bf16.
#pragma once

#include "runtime/device/tensor.h"
#include "tests/ops/reference.h"

namespace ddp::test {

Vec load(const TensorView& x);
void store(const TensorView& y, const Vec& values);  // each rounded to y's type

}  // namespace ddp::test
