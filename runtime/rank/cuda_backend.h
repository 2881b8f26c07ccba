// The CUDA backend as a module (libddp-cuda13.so, or 12): the CUDA libraries cost 80 ms and 158 MB a process, so only
// ranks that train on a GPU open it. This is all that such a rank knows of it.
#pragma once

#include <memory>

#include "kernels/op_table.h"
#include "runtime/comm/nccl_comm.h"
#include "runtime/device/cuda_device.h"

namespace ddp {

struct CudaBackend {
  std::unique_ptr<Device> (*make_device)(const CudaOptions&);
  const OpTable& (*op_table)(bool tf32);
  std::unique_ptr<Communicator> (*make_nccl_comm)(Device&, Board&, const NcclCommOptions&);
};

// Opens the backend (base/cuda_libraries.h: which, and where its own needs are looked for); it stays open until the
// process ends. Errors: usage (64) when it or a library is not there or does not load, data (65) when its file is
// damaged.
const CudaBackend& open_cuda_backend();

// The handle of NCCL's library, for NcclCommOptions; it stays open until the process ends. To be called after
// open_cuda_backend: a simulated module holds a NCCL of its own. Errors: usage (64) when there is none.
void* open_nccl();

// The handle of cuDNN's library, for CudaOptions; as open_nccl.
void* open_cudnn();

}  // namespace ddp

// What the module exports.
extern "C" const ddp::CudaBackend* ddp_cuda_backend();
