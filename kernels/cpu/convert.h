// Whole tensors from one storage type to another: the cast op, and the copies in f32 of products that the machine has
// no instructions for.
#pragma once

#include "runtime/device/tensor.h"
#include "runtime/device/thread_pool.h"

namespace ddp::cpu {

// y (n) = x (n), each rounded once; both any storage type.
void convert(ThreadPool& pool, const TensorView& y, const TensorView& x);

}  // namespace ddp::cpu
