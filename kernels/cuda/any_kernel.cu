#include "kernels/cuda/launch.cuh"
//
#include "kernels/cuda/any_kernel.h"

namespace ddp::cuda {
namespace {

__global__ void __launch_bounds__(1) nothing() {}

}  // namespace

const void* any_kernel() { return reinterpret_cast<const void*>(nothing); }

}  // namespace ddp::cuda
