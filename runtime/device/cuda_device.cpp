#include "runtime/device/cuda_device.h"

#include <cuda_runtime_api.h>
#include <time.h>

#include <cstdlib>

#include "runtime/base/bytes_text.h"
#include "runtime/device/cuda_check.h"
#include "runtime/device/out_of_memory.h"

namespace ddp {
namespace {

std::string version_text(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }

// Error 35 says "driver too old" also where there is none; the driver's version tells the two apart.
void check_driver() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  int driver = 0;
  DDP_CUDA(cudaDriverGetVersion(&driver));
  if (driver == 0)
    throw Error(ExitCode::usage, "this machine has no NVIDIA driver", "install one, or train with --device cpu");
  if (error == cudaErrorInsufficientDriver)
    throw Error(ExitCode::usage,
                fmt::format("the NVIDIA driver is too old: it supports CUDA {}, this program was built with {}",
                            version_text(driver), version_text(CUDART_VERSION)),
                fmt::format("update the driver, or build with a toolkit <= {}", version_text(driver)));
  if (error == cudaErrorNoDevice || (error == cudaSuccess && count == 0))
    throw Error(ExitCode::usage, "no GPU is visible", "check nvidia-smi -L and CUDA_VISIBLE_DEVICES");
  DDP_CUDA(error);
}

// A GPU runs the machine code of its own generation, or what the driver compiles of the PTX: one of an older CUDA than
// the build's cannot. Without this it is the first step that fails.
void check_kernel(const void* kernel) {
  cudaFuncAttributes attributes;
  const cudaError_t error = cudaFuncGetAttributes(&attributes, kernel);
  const bool is_driver_old = error == cudaErrorUnsupportedPtxVersion || error == cudaErrorJitCompilerNotFound;
  const bool is_other_gpu = error == cudaErrorNoKernelImageForDevice || error == cudaErrorInvalidDeviceFunction;
  if (!is_driver_old && !is_other_gpu) {
    DDP_CUDA(error);
    return;
  }
  cudaDeviceProp gpu;
  DDP_CUDA(cudaGetDeviceProperties(&gpu, 0));
  int driver = 0;
  DDP_CUDA(cudaDriverGetVersion(&driver));
  const std::string name = fmt::format("{} (compute capability {}.{})", gpu.name, gpu.major, gpu.minor);
  const std::string build = fmt::format("build with -Dgpu_arch={}{}", gpu.major, gpu.minor);
  if (is_driver_old)
    throw Error(ExitCode::usage,
                fmt::format("this build has no kernels for the {}, and the NVIDIA driver, of CUDA {}, cannot compile "
                            "those of CUDA {} for it",
                            name, version_text(driver), version_text(CUDART_VERSION)),
                "update the driver, or " + build);
  throw Error(ExitCode::usage, fmt::format("this build has no kernels for the {}", name), build);
}

cudaStream_t stream_of(void* stream) { return static_cast<cudaStream_t>(stream); }
cudaEvent_t event_of(void* event) { return static_cast<cudaEvent_t>(event); }

class CudaDevice final : public Device {
 public:
  explicit CudaDevice(const CudaOptions& options)
      : workspace_{nullptr, options.workspace_bytes}, cudnn_(options.cudnn) {
    // Before the first call. The default since CUDA 12.2; before, every kernel of every library takes GPU memory.
    ::setenv("CUDA_MODULE_LOADING", "LAZY", /*overwrite=*/0);
    check_driver();
    DDP_CUDA(cudaSetDevice(0));
    DDP_CUDA(cudaDeviceGetStreamPriorityRange(&lowest_priority_, &highest_priority_));
    workspace_.memory = allocate(options.workspace_bytes);  // the first allocation makes the context
  }
  CudaDevice(const CudaDevice&) = delete;
  CudaDevice& operator=(const CudaDevice&) = delete;
  ~CudaDevice() override { deallocate(workspace_.memory, workspace_.bytes); }

  DeviceKind kind() const override { return DeviceKind::cuda; }
  std::string name() const override {
    cudaDeviceProp properties;
    DDP_CUDA(cudaGetDeviceProperties(&properties, 0));
    return properties.name;
  }

  void* allocate(int64_t bytes) override {
    num_allocations_.fetch_add(1, std::memory_order_relaxed);
    void* memory = nullptr;
    const cudaError_t error = cudaMalloc(&memory, size_t(bytes == 0 ? 1 : bytes));
    if (error == cudaErrorMemoryAllocation) {
      cudaGetLastError();  // not sticky: it is reported here
      size_t free = 0, total = 0;
      DDP_CUDA(cudaMemGetInfo(&free, &total));
      throw OutOfMemory(fmt::format("cannot allocate a buffer of {} on the GPU: {} of {} are free", bytes_text(bytes),
                                    bytes_text(int64_t(free)), bytes_text(int64_t(total))),
                        in_use_ + int64_t(free));
    }
    DDP_CUDA(error);
    in_use_ += bytes;
    return memory;
  }
  void deallocate(void* memory, int64_t bytes) noexcept override {
    in_use_ -= bytes;
    cudaFree(memory);  // an error here is an earlier one, which the next call reports
  }

  void* allocate_host(int64_t bytes) override {
    void* memory = nullptr;
    DDP_CUDA(cudaHostAlloc(&memory, size_t(bytes == 0 ? 1 : bytes), cudaHostAllocDefault));
    return memory;
  }
  void deallocate_host(void* memory) noexcept override { cudaFreeHost(memory); }

  void* create_stream(StreamRole role) override {
    cudaStream_t stream = nullptr;
    DDP_CUDA(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking,
                                          role == StreamRole::communication ? highest_priority_ : lowest_priority_));
    return stream;
  }
  void destroy_stream(void* stream) noexcept override { cudaStreamDestroy(stream_of(stream)); }

  void* create_event() override {
    cudaEvent_t event = nullptr;
    DDP_CUDA(cudaEventCreateWithFlags(&event, cudaEventDefault));
    return event;
  }
  void destroy_event(void* event) noexcept override { cudaEventDestroy(event_of(event)); }

  void record(void* event, void* stream) override { DDP_CUDA(cudaEventRecord(event_of(event), stream_of(stream))); }
  void wait(void* stream, void* event) override {
    DDP_CUDA(cudaStreamWaitEvent(stream_of(stream), event_of(event), 0));
  }

  bool query(void* event) override {
    const cudaError_t state = cudaEventQuery(event_of(event));
    if (state == cudaErrorNotReady) return false;
    DDP_CUDA(state);
    return true;
  }

  // Polls, since the runtime's own waits know neither deadline nor abort word: some pauses, then short sleeps.
  void synchronize(void* event, const WaitPolicy& policy) override {
    constexpr timespec kNap = {.tv_sec = 0, .tv_nsec = 20'000};
    Deadline deadline(policy);
    for (int polls = 0; !query(event); ++polls) {
      if (policy.abort_word != nullptr && policy.abort_word->load(std::memory_order_acquire) != 0)
        throw Aborted("device work");
      if (deadline.passed())
        throw Error(ExitCode::hang, fmt::format("waited {} s for device work", policy.timeout_ms / 1000));
      if (polls >= policy.spin_pauses) ::nanosleep(&kNap, nullptr);
    }
  }

  double elapsed_ms(void* begin, void* end) override {
    float ms = 0;
    DDP_CUDA(cudaEventElapsedTime(&ms, event_of(begin), event_of(end)));
    return double(ms);
  }

  void copy(void* to, const void* from, int64_t bytes, void* stream) override {
    DDP_CUDA(cudaMemcpyAsync(to, from, size_t(bytes), cudaMemcpyDefault, stream_of(stream)));
  }
  void fill_zero(void* to, int64_t bytes, void* stream) override {
    DDP_CUDA(cudaMemsetAsync(to, 0, size_t(bytes), stream_of(stream)));
  }

  // In this mode a capture concerns its own thread alone: NCCL's threads and the watchdog may call CUDA meanwhile.
  bool has_graphs() const override { return true; }
  void begin_capture(void* stream) override {
    DDP_CUDA(cudaStreamBeginCapture(stream_of(stream), cudaStreamCaptureModeThreadLocal));
  }
  void* end_capture(void* stream) override {
    cudaGraph_t graph = nullptr;
    DDP_CUDA(cudaStreamEndCapture(stream_of(stream), &graph));
    cudaGraphExec_t executable = nullptr;
    // Else all of it would run at the priority of the launching stream, communication too.
    const cudaError_t error = cudaGraphInstantiate(&executable, graph, cudaGraphInstantiateFlagUseNodePriority);
    cudaGraphDestroy(graph);
    DDP_CUDA(error);
    return executable;
  }
  void launch_graph(void* graph, void* stream) override {
    DDP_CUDA(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), stream_of(stream)));
  }
  void destroy_graph(void* graph) noexcept override { cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph)); }

  MemoryInfo memory_info() const override {
    size_t free = 0, total = 0;
    DDP_CUDA(cudaMemGetInfo(&free, &total));
    return {.in_use_bytes = in_use_, .taken_bytes = int64_t(total - free), .total_bytes = int64_t(total)};
  }

  const CudaWorkspace& workspace() const { return workspace_; }
  void* cudnn() const { return cudnn_; }

 private:
  CudaWorkspace workspace_;
  void* cudnn_;
  int lowest_priority_ = 0, highest_priority_ = 0;
  int64_t in_use_ = 0;
};

const CudaDevice& cuda_device(const Device& device) {
  DDP_CHECK(device.kind() == DeviceKind::cuda, "{}: not a CUDA device", device.name());
  return static_cast<const CudaDevice&>(device);
}

}  // namespace

void fail_cuda(cudaError_t error, const char* call, const char* file, int line) {
  const char* rank = std::getenv("RANK");
  throw Error(ExitCode::os_resource, fmt::format("rank {}: {} at {}:{}: {} ({})", rank != nullptr ? rank : "?", call,
                                                 file, line, cudaGetErrorString(error), cudaGetErrorName(error)));
}

std::unique_ptr<Device> make_cuda_device(const CudaOptions& options) {
  auto device = std::make_unique<CudaDevice>(options);
  if (options.kernel != nullptr) check_kernel(options.kernel);
  return device;
}

CudaWorkspace cuda_workspace(Device& device) { return cuda_device(device).workspace(); }

void* cudnn_library(Device& device) { return cuda_device(device).cudnn(); }

}  // namespace ddp
