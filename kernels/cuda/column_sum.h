// Bias gradients: part of a linear layer's backward, kept apart because a kernel is not host code.
#pragma once

#include "runtime/device/device.h"

namespace ddp::cuda {

// db (N) G (=|+= where accumulate) the sums of the columns of dy (M,N), in f32 and in an order fixed by M.
void column_sum(Stream& stream, const TensorView& db, const TensorView& dy, bool accumulate);

}  // namespace ddp::cuda
