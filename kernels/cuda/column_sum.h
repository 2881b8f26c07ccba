// Bias gradients: part of a linear layer's backward, kept apart because a kernel is not host code.
#pragma once

#include "runtime/device/device.h"

namespace ddp::cuda {

// db (N) (=|+= where accumulate) the sums of the columns of dy (M,N), f32, in an order fixed by M.
void column_sum(Stream& stream, const TensorView& db, const TensorView& dy, bool accumulate);

}  // namespace ddp::cuda
