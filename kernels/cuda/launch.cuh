// The one header that knows which compiler reads a .cu file. nvcc: the real language and a checked launch. A host
// compiler: the same language from the headers cuda_emulator/*.h, which that build puts on the include path, so that
// every kernel is executed and race-checked where there is no GPU. nvcc needs -std=c++20 --expt-relaxed-constexpr
// (device code calls the constexpr functions of runtime/base).
//
// Include it first. Kernels get shared memory only through shared_memory<T>(): its size is part of the launch on both
// sides, and the emulator can poison it for each block and check its bounds.
#pragma once

#ifdef __CUDACC__
#define FMT_USE_CONSTEXPR 1  // fmt 9 turns it off for nvcc, and its headers then do not compile as C++20
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#else
#define DDP_CUDA_EMULATED 1  // for the twins of what is written in PTX
#include <cuda_emulator/language.h>
#endif

#include "runtime/base/error.h"
#include "runtime/device/device.h"

namespace ddp::cuda {

struct LaunchShape {
  const char* name;  // of the op, for errors and reports
  dim3 grid, block;
  size_t shared_bytes = 0;  // sizeof(T) of the kernel's shared_memory<T>()
};

inline cudaStream_t cuda_stream(const Stream& stream) { return static_cast<cudaStream_t>(stream.handle()); }

// Of a block on sm_75, the oldest GPU supported.
constexpr size_t kMaxSharedBytes = 64 * 1024;

}  // namespace ddp::cuda

#ifdef __CUDACC__

namespace ddp::cuda {

template <class T>
__device__ __forceinline__ T& shared_memory() {
  static_assert(sizeof(T) <= kMaxSharedBytes);
  extern __shared__ __align__(16) unsigned char ddp_shared_memory[];
  return *reinterpret_cast<T*>(ddp_shared_memory);
}

inline void check_launch(cudaError_t error, const char* name) {
  if (error == cudaSuccess) return;
  const bool is_other_gpus = error == cudaErrorNoKernelImageForDevice || error == cudaErrorInvalidDeviceFunction ||
                             error == cudaErrorUnsupportedPtxVersion;
  throw Error(ExitCode::os_resource, std::string("launch of kernel ") + name + ": " + cudaGetErrorString(error),
              is_other_gpus ? "this build is for other GPUs: see meson's -Dgpu_arch" : "");
}

// Enqueues kernel(args...) on the stream. A grid of no blocks is no work. Errors: os_resource (71) naming the kernel
// and the cause.
template <class... Parameters, class... Args>
void launch(const Stream& stream, const LaunchShape& shape, void (*kernel)(Parameters...), Args&&... args) {
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return;
  if (shape.shared_bytes > 48 * 1024)
    check_launch(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shape.shared_bytes)),
                 shape.name);
  cudaLaunchConfig_t config{};
  config.gridDim = shape.grid, config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared_bytes, config.stream = cuda_stream(stream);
  check_launch(cudaLaunchKernelEx(&config, kernel, Parameters(std::forward<Args>(args))...), shape.name);
}

}  // namespace ddp::cuda

#else
#include <cuda_emulator/launch.h>
#endif
