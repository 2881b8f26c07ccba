// Whether a GPU can run the kernels is asked of one of them: all are compiled for the same GPUs.
#pragma once

namespace ddp::cuda {

// To be looked up by the CUDA runtime; never launched.
const void* any_kernel();

}  // namespace ddp::cuda
