// Shared memory and the launch of a kernel on the emulator. Contracts are those of kernels/cuda/launch.cuh, which
// includes this where nvcc's are.
#pragma once

namespace ddp::cuda {

template <class T>
T& shared_memory() {
  static_assert(sizeof(T) <= kMaxSharedBytes);
  return *reinterpret_cast<T*>(sim::shared_memory(sizeof(T)));
}

template <class... Parameters, class... Args>
void launch(const Stream& stream, const LaunchShape& shape, void (*kernel)(Parameters...), Args&&... args) {
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return;
  const sim::GridShape grid{shape.name, shape.grid, shape.block, shape.shared_bytes};
  sim::enqueue_kernel(cuda_stream(stream), shape.name,
                      [grid, call = sim::KernelCall<Parameters...>{kernel, {Parameters(std::forward<Args>(args))...}}] {
                        sim::run_grid(grid, call.body(), &call, sizeof call);
                      });
}

}  // namespace ddp::cuda
