// Reductions over a warp and over a block. The order is fixed, so the same numbers give the same bits; every
// thread gets the result.
#pragma once

#include "kernels/cuda/launch.cuh"

namespace ddp::cuda {

inline constexpr int kWarp = 32;
inline constexpr unsigned kAllLanes = 0xffffffffu;

struct Add {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
  __device__ float2 operator()(float2 a, float2 b) const { return {a.x + b.x, a.y + b.y}; }
};

template <class T>
__device__ __forceinline__ T shuffle_xor(T value, int lane_mask) {
  return __shfl_xor_sync(kAllLanes, value, lane_mask);
}
__device__ __forceinline__ float2 shuffle_xor(float2 v, int lane_mask) {
  return {shuffle_xor(v.x, lane_mask), shuffle_xor(v.y, lane_mask)};
}

// Butterfly: lane l combines with l ^ 16, l ^ 8, ...; every lane ends with the same bits, since a + b = b + a.
template <class T, class Op>
__device__ __forceinline__ T warp_reduce(T value, Op op) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) value = op(value, shuffle_xor(value, step));
  return value;
}

template <class T>
__device__ __forceinline__ T warp_sum(T value) {
  return warp_reduce(value, Add{});
}

// Shared memory of one block_reduce, for blocks of up to 1024 threads.
template <class T>
struct BlockScratch {
  T warp[kWarp];
};

// Over all threads of the block, which must all call; blockDim.x is a multiple of 32. `empty` is what op leaves
// unchanged. The scratch may be used again at once: a barrier comes first.
template <class T, class Op>
__device__ __forceinline__ T block_reduce(T value, Op op, T empty, BlockScratch<T>& scratch) {
  const int lane = threadIdx.x % kWarp, num_warps = blockDim.x / kWarp;
  value = warp_reduce(value, op);
  __syncthreads();
  if (lane == 0) scratch.warp[threadIdx.x / kWarp] = value;
  __syncthreads();
  return warp_reduce(lane < num_warps ? scratch.warp[lane] : empty, op);
}

template <class T>
__device__ __forceinline__ T block_sum(T value, BlockScratch<T>& scratch) {
  return block_reduce(value, Add{}, T{}, scratch);
}

struct Min {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return b < a ? b : a;
  }
};

__device__ __forceinline__ int64_t block_min(int64_t value, BlockScratch<int64_t>& scratch) {
  return block_reduce(value, Min{}, int64_t(INT64_MAX), scratch);
}

}  // namespace ddp::cuda
