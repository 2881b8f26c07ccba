// The module's one export, linked into libddp-cuda13.so (or 12) and not into ddp-rank.
#include "kernels/cuda/any_kernel.h"
#include "kernels/cuda/tree_sum.h"
#include "runtime/base/module_note.h"
#include "runtime/rank/cuda_backend.h"

namespace ddp {
namespace {

std::unique_ptr<Device> make_device(const CudaOptions& options) {
  CudaOptions with_kernel = options;
  with_kernel.kernel = cuda::any_kernel();
  return make_cuda_device(with_kernel);
}

std::unique_ptr<Communicator> make_comm(Device& device, Board& board, const NcclCommOptions& options) {
  NcclCommOptions with_sum = options;
  with_sum.tree_sum = cuda::tree_sum;
  return make_nccl_comm(device, board, with_sum);
}

}  // namespace
}  // namespace ddp

DDP_MODULE_NOTE(DDP_CUDA_BUILD);  // for ddp-launch --version --json

extern "C" __attribute__((visibility("default"))) const ddp::CudaBackend* ddp_cuda_backend() {
  static constexpr ddp::CudaBackend kBackend = {
      .make_device = ddp::make_device, .op_table = ddp::cuda_op_table, .make_nccl_comm = ddp::make_comm};
  return &kBackend;
}
