// Convolutions by cuDNN's graph API, in f32, f16 or bf16 with sums in f32; those of f32 are exact, or in the table for
// tf32 made by tensor cores. A plan is chosen once for each shape (kernels/cuda/cudnn_plan.h), in the first step, so
// that a capture finds it made. Rejected: cuDNN's legacy API, which is deprecated and says less of an algorithm; its
// benchmark mode, which chooses by timing.
#include <cuda_runtime_api.h>

#include <map>

#include "kernels/cuda/alignment.h"
#include "kernels/cuda/cudnn_plan.h"
#include "kernels/cuda/run.h"
#include "runtime/base/log.h"
#include "runtime/device/cuda_device.h"

namespace ddp::cuda {
namespace {

// cuDNN of this process, and the plans made so far: one a process, as a rank has one GPU; used by the one thread that
// enqueues. Nothing is destroyed: at the end of a process the driver may be gone before it.
class Convolutions {
 public:
  static Convolutions& of_process(Device& device) {
    static Convolutions* const convolutions = new Convolutions(cudnn_library(device));
    return *convolutions;
  }

  // x, w and y or their gradients.
  void run(Stream& stream, const ConvolutionTask& task, const std::array<void*, 3>& operands, void* workspace) {
    const ConvolutionPlan& chosen = plan(task);
    Descriptor pack(api_, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    pack.set<int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, std::span(kOperandIds));
    pack.set<void*>(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, std::span(operands));
    pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, workspace);
    pack.finalize();
    api_.check(api_.cudnnSetStream(handle_, static_cast<cudaStream_t>(stream.handle())), "cudnnSetStream");
    api_.check(api_.cudnnBackendExecute(handle_, chosen.raw(), pack.raw()), "cudnnBackendExecute");
  }

 private:
  explicit Convolutions(void* library) {
    DDP_CHECK(library != nullptr, "a convolution on a device without cuDNN: its ModelKind does not say {}",
              "convolves");
    api_ = load_cudnn(library);
    api_.check(api_.cudnnCreate(&handle_), "cudnnCreate");
  }

  const ConvolutionPlan& plan(const ConvolutionTask& task) {
    if (const auto found = plans_.find(task); found != plans_.end()) return found->second;
    const auto tie = [this](Descriptor& descriptor) {
      if (descriptor.type() == CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR)
        descriptor.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, handle_);
      if (descriptor.type() == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR)
        descriptor.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, handle_);
    };
    ConvolutionPlan chosen = choose_plan(api_, task, tie);
    log::note(fmt::format("cuDNN {}: {}: engine {}, {} bytes of workspace, {} passed over", api_.version(), task.text(),
                          chosen.engine, chosen.workspace_bytes, chosen.num_passed_over));
    return plans_.emplace(task, std::move(chosen)).first->second;
  }

  CudnnApi api_{};
  cudnnHandle_t handle_ = nullptr;
  std::map<ConvolutionTask, ConvolutionPlan> plans_;
};

std::array<int64_t, 4> dims_of(const TensorView& t) { return {t.dim(0), t.dim(1), t.dim(2), t.dim(3)}; }

void convolve(Stream& stream, ConvolutionKind kind, bool tf32, const TensorView& x, const TensorView& w,
              const TensorView& y, const Window& window) {
  const CudaWorkspace workspace = cuda_workspace(stream.device());
  const ConvolutionTask task = {.kind = kind,
                                .type = x.dtype,
                                .tf32 = tf32 && x.dtype == DType::f32,
                                .x = dims_of(x),
                                .w = dims_of(w),
                                .y = dims_of(y),
                                .stride = window.stride,
                                .padding = window.padding,
                                .alignment = alignment_of({x.data, w.data, y.data}),
                                .workspace_bytes = workspace.bytes};
  Convolutions::of_process(stream.device()).run(stream, task, {x.data, w.data, y.data}, workspace.memory);
}

void run(Stream& stream, bool tf32, const ConvolutionForward& a) {
  convolve(stream, ConvolutionKind::forward, tf32, a.x, a.w, a.y, a.window);
}
void run(Stream& stream, bool tf32, const ConvolutionBackwardInput& a) {
  convolve(stream, ConvolutionKind::backward_input, tf32, a.dx, a.w, a.dy, a.window);
}
void run(Stream& stream, bool tf32, const ConvolutionBackwardWeight& a) {
  convolve(stream, ConvolutionKind::backward_weight, tf32, a.x, a.dw, a.dy, a.window);
}

}  // namespace

template <>
void run(Stream& stream, const ConvolutionForward& a) {
  run(stream, /*tf32=*/false, a);
}
template <>
void run_tf32(Stream& stream, const ConvolutionForward& a) {
  run(stream, /*tf32=*/true, a);
}

template <>
void run(Stream& stream, const ConvolutionBackwardInput& a) {
  run(stream, /*tf32=*/false, a);
}
template <>
void run_tf32(Stream& stream, const ConvolutionBackwardInput& a) {
  run(stream, /*tf32=*/true, a);
}

template <>
void run(Stream& stream, const ConvolutionBackwardWeight& a) {
  run(stream, /*tf32=*/false, a);
}
template <>
void run_tf32(Stream& stream, const ConvolutionBackwardWeight& a) {
  run(stream, /*tf32=*/true, a);
}

}  // namespace ddp::cuda
