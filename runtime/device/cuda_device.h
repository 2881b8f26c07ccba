// The CUDA device of a rank: its one visible GPU. No CUDA header is needed to use it.
#pragma once

#include <memory>

#include "runtime/device/device.h"

namespace ddp {

struct CudaOptions {
  // Of the one workspace that libraries (cuBLASLt, cuDNN) get.
  int64_t workspace_bytes = 32 << 20;
  // cuDNN's library, as dlopen gave it, for the convolutions on this device; nullptr: the model has none.
  void* cudnn = nullptr;
  // One of the backend's kernels, which are all compiled for the same GPUs; nullptr: nobody asks whether the GPU runs
  // them.
  const void* kernel = nullptr;
};

// Opens GPU 0 of CUDA_VISIBLE_DEVICES. Errors: usage (64) when there is no driver, or one older than this build, no
// GPU, or one that runs none of the kernels; os_resource (71) when the GPU cannot be used. Streams do not synchronise
// with the legacy default stream; destroying one does not wait, freeing memory does. After an error of the GPU every
// call fails with it (os_resource, 71).
std::unique_ptr<Device> make_cuda_device(const CudaOptions& options);

// Temporary memory for a library's work on the compute stream: one piece, since that stream runs one op at a time.
struct CudaWorkspace {
  void* memory;
  int64_t bytes;
};
CudaWorkspace cuda_workspace(Device& cuda_device);
void* cudnn_library(Device& cuda_device);  // CudaOptions::cudnn

}  // namespace ddp
