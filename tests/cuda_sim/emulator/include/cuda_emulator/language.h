// The CUDA device language for a host compiler: what the kernels of this project use of it, on the emulator. Included
// by kernels/cuda/launch.cuh alone.
#pragma once

#include <cuda_runtime_api.h>
#include <vector_functions.h>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "tests/cuda_sim/bridge.h"
#include "tests/cuda_sim/emulator/grid.h"

// Static shared memory would be one variable a thread here: shared_memory<T>() of launch.cuh is the way.
#undef __shared__
#define __shared__ static_assert(false, "use shared_memory<T>()");
#undef __launch_bounds__
#define __launch_bounds__(...)

#define threadIdx (::ddp::sim::machine.current->index)
#define blockIdx (::ddp::sim::machine.block_index)
#define blockDim (::ddp::sim::machine.block_dim)
#define gridDim (::ddp::sim::machine.grid_dim)
#define __syncthreads() ::ddp::sim::block_barrier(__LINE__)

inline void __syncwarp(unsigned mask = 0xffffffffu) { ddp::sim::warp_operation(mask, nullptr, nullptr); }

namespace ddp::sim {

template <class T>
struct ShuffleOperand {
  T value, result;
  int source;  // lane
};

// A lane that is not in the mask gives what hardware leaves undefined: zero here.
template <class T>
DDP_SIM_UNCHECKED void shuffle_lanes(Warp& warp, unsigned lanes) {
  for (unsigned rest = lanes; rest != 0; rest &= rest - 1) {
    auto& mine = *static_cast<ShuffleOperand<T>*>(warp.lane[__builtin_ctz(rest)]->operand);
    const bool valid = mine.source >= 0 && mine.source < 32 && (lanes >> mine.source & 1) != 0;
    mine.result = valid ? static_cast<ShuffleOperand<T>*>(warp.lane[mine.source]->operand)->value : T{};
  }
}

template <class T>
DDP_SIM_UNCHECKED T shuffle(unsigned mask, T value, int source) {
  ShuffleOperand<T> operand{value, value, source};
  warp_operation(mask, &operand, &shuffle_lanes<T>);
  return operand.result;
}

inline int lane() { return int(machine.current->lane); }

}  // namespace ddp::sim

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  return ddp::sim::shuffle(mask, value, (ddp::sim::lane() & ~(width - 1)) + (source & (width - 1)));
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32) {
  const int lane = ddp::sim::lane(), source = lane ^ lane_mask;
  return ddp::sim::shuffle(mask, value, (source & ~(width - 1)) > (lane & ~(width - 1)) ? lane : source);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const int lane = ddp::sim::lane(), source = lane + int(delta);
  return ddp::sim::shuffle(mask, value, (lane & (width - 1)) + int(delta) < width ? source : lane);
}

template <class T>
T __ldg(const T* address) {
  return *address;
}
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
using std::isfinite;
using std::isnan;
using std::max;
using std::min;
