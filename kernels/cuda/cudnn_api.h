// cuDNN's functions by a table, filled from the library that the rank found: a model without convolutions needs no
// cuDNN, so the module does not need it either. The header is still that of the build. As runtime/comm/nccl_api.h.
#pragma once

#include <cudnn.h>

#include <string>

namespace ddp::cuda {

// What the project calls; cuDNN 9.0 has them all.
#define DDP_CUDNN_FUNCTIONS(f)                                                                          \
  f(cudnnGetVersion) f(cudnnGetErrorString) f(cudnnGetLastErrorString) f(cudnnCreate) f(cudnnSetStream) \
      f(cudnnBackendCreateDescriptor) f(cudnnBackendDestroyDescriptor) f(cudnnBackendSetAttribute)      \
          f(cudnnBackendGetAttribute) f(cudnnBackendFinalize) f(cudnnBackendExecute)

struct CudnnApi {
#define DDP_MEMBER(name) decltype(&::name) name;
  DDP_CUDNN_FUNCTIONS(DDP_MEMBER)
#undef DDP_MEMBER

  std::string version() const;  // "9.19.0"
  // Errors: os_resource (71) naming the call and cuDNN's reason.
  void check(cudnnStatus_t status, const char* call) const;
  std::string error_text(cudnnStatus_t status, const char* call) const;
};

// Of a handle that dlopen gave; it stays open as long as the table is used. Errors: usage (64) naming the first
// function that it lacks, and its version.
CudnnApi load_cudnn(void* library);

}  // namespace ddp::cuda
