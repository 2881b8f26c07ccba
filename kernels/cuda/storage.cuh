// The storage types S of kernels/ops.h in kernels, float, half and bfloat16: memory holds S, registers hold float. The
// choice by DType, conversions of pairs, and what may be computed less exactly where a result is rounded to 16 bits.
#pragma once

#include <type_traits>

#include "kernels/cuda/launch.cuh"
// Above: before any header of CUDA.
#include "kernels/cuda/float16.h"

namespace ddp::cuda {

template <class S>
inline constexpr bool kIs16Bit = sizeof(S) == 2;

// f(S{}) with the type behind `storage`.
template <class F>
void with_storage(DType storage, F f) {
  if (storage == DType::f16)
    f(half{});
  else if (storage == DType::bf16)
    f(bfloat16{});
  else
    f(float{});
}

// f(G{}) with the type of a weight gradient beside S: S or float.
template <class S, class F>
void with_grad(DType grad, F f) {
  if (grad == kDTypeOf<S>)
    f(S{});
  else if constexpr (kIs16Bit<S>)
    f(float{});
}

// Two neighbouring elements of 16 bits as the register that holds them, the first in the low half; rounded to nearest.
template <class S>
__device__ __forceinline__ unsigned pack_pair(float low, float high) {
  unsigned bits;
  if constexpr (std::is_same_v<S, half>) {
    const half2 pair = __floats2half2_rn(low, high);
    memcpy(&bits, &pair, sizeof bits);
  } else {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    memcpy(&bits, &pair, sizeof bits);
  }
  return bits;
}

template <class S>
__device__ __forceinline__ float2 unpack_pair(unsigned bits) {
  using Pair = std::conditional_t<std::is_same_v<S, half>, half2, __nv_bfloat162>;
  const Pair& pair = *reinterpret_cast<const Pair*>(&bits);
  return {__low2float(pair), __high2float(pair)};
}

// e^x for a result that is rounded to S: 16 bits hide the fast one's error, 2 units in the last place of f32 and some
// more with |x|.
template <class S>
__device__ __forceinline__ float exp_for(float x) {
  if constexpr (kIs16Bit<S>)
    return __expf(x);
  else
    return expf(x);
}

}  // namespace ddp::cuda
