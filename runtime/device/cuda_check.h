// DDP_CUDA(call): every call of the CUDA runtime goes through it. An error becomes an Error (os_resource, 71) that
// names the call, file, line and rank, so that one line of a log is enough.
#pragma once

#include <cuda_runtime_api.h>

namespace ddp {

[[noreturn]] void fail_cuda(cudaError_t error, const char* call, const char* file, int line);

}  // namespace ddp

#define DDP_CUDA(call)                                                                         \
  do {                                                                                         \
    if (const cudaError_t ddp_cuda_error = (call); ddp_cuda_error != cudaSuccess) [[unlikely]] \
      ::ddp::fail_cuda(ddp_cuda_error, #call, __FILE__, __LINE__);                             \
  } while (false)
