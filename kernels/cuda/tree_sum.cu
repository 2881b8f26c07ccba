#include "kernels/cuda/launch.cuh"
//
#include "kernels/cuda/tree_sum.h"
#include "runtime/base/rounding.h"

// n elements, S sources one after another.
namespace ddp::cuda {
namespace {

constexpr int kThreads = 256;

// The tree over sources [first, first + count) of element i. A binary counter: partial sums of 2^k sources wait at
// level k; at the end the levels are added from the smallest up, which is the split at powers of two.
template <class T>
__device__ T tree_at(const T* sources, int count, int64_t n, int64_t i) {
  constexpr int kLevels = 7;  // up to 2^7 - 1 sources
  T waiting[kLevels] = {};
  for (int s = 0; s < count; ++s) {
    T sum = sources[s * n + i];
    bool carry = true;
#pragma unroll  // a level is then a register, not an index into local memory
    for (int level = 0; level < kLevels; ++level) {
      const bool full = (s >> level) & 1;
      if (carry && !full) waiting[level] = sum;
      if (carry && full) sum = waiting[level] + sum;
      carry = carry && full;
    }
  }
  T total = T(0);
  bool has_total = false;
#pragma unroll
  for (int level = 0; level < kLevels; ++level) {
    if (((count >> level) & 1) == 0) continue;
    total = has_total ? waiting[level] + total : waiting[level];
    has_total = true;
  }
  return total;
}

template <class T>
__global__ void __launch_bounds__(kThreads) tree_sum_kernel(T* out, const T* sources, int count, int64_t n) {
  const int64_t stride = int64_t(gridDim.x) * blockDim.x;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += stride)
    out[i] = tree_at(sources, count, n, i);
}

template <class T>
void run(const TensorView& out, const TensorView& sources, Stream& stream) {
  constexpr int64_t kMaxBlocks = 1024;
  const int64_t n = out.numel();
  const int64_t blocks = ceil_div(n, kThreads);
  launch(stream, {"tree_sum", dim3(unsigned(blocks < kMaxBlocks ? blocks : kMaxBlocks)), dim3(kThreads)},
         tree_sum_kernel<T>, out.as<T>(), sources.as<T>(), int(sources.dim(0)), n);
}

}  // namespace

void tree_sum(const TensorView& out, const TensorView& sources, Stream& stream) {
  DDP_CHECK(
      sources.shape.rank == 2 && sources.dim(1) == out.numel() && sources.dtype == out.dtype && sources.dim(0) < 128,
      "a tree sum of {} to {}", sources.shape.text(), out.shape.text());
  if (out.dtype == DType::f32)
    run<float>(out, sources, stream);
  else
    run<double>(out, sources, stream);
}

}  // namespace ddp::cuda
