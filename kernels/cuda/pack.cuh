// Accesses of W neighbouring elements at once: 16 bytes where the tensors allow it (W = 4 of f32, 8 of 16 bits), single
// elements elsewhere. A kernel is written once over S and W, and its launcher chooses. In registers they are floats;
// an f32 tensor beside 16-bit ones is accessed in pieces of 16 bytes.
#pragma once

#include "kernels/cuda/storage.cuh"
#include "runtime/base/rounding.h"

namespace ddp::cuda {

template <int W>
struct alignas(W < 4 ? 4 * W : 16) Pack {
  float x[W];
};

// As many of 16 bits, in memory.
template <int W>
struct alignas(2 * W) Pairs {
  unsigned x[W / 2];
};

template <int W, class S>
__device__ __forceinline__ Pack<W> load(const S* from) {
  // A named reference, not *reinterpret_cast: under simulation UBSan then checks the alignment of the access.
  if constexpr (!kIs16Bit<S>) {
    const auto& pack = *reinterpret_cast<const Pack<W>*>(from);
    return pack;
  } else if constexpr (W == 1) {
    return {{float(*from)}};
  } else {
    const auto& in_memory = *reinterpret_cast<const Pairs<W>*>(from);
    const Pairs<W> pairs = in_memory;
    Pack<W> pack;
#pragma unroll
    for (int i = 0; i < W / 2; ++i) {
      const float2 pair = unpack_pair<S>(pairs.x[i]);
      pack.x[2 * i] = pair.x, pack.x[2 * i + 1] = pair.y;
    }
    return pack;
  }
}

template <int W, class S>
__device__ __forceinline__ void store(S* to, const Pack<W>& value) {
  if constexpr (!kIs16Bit<S>) {
    auto& pack = *reinterpret_cast<Pack<W>*>(to);
    pack = value;
  } else if constexpr (W == 1) {
    *to = S(value.x[0]);
  } else {
    Pairs<W> pairs;
#pragma unroll
    for (int i = 0; i < W / 2; ++i) pairs.x[i] = pack_pair<S>(value.x[2 * i], value.x[2 * i + 1]);
    auto& in_memory = *reinterpret_cast<Pairs<W>*>(to);
    in_memory = pairs;
  }
}

// The values that a tensor of S keeps of these.
template <class S, int W>
__device__ __forceinline__ Pack<W> rounded(Pack<W> value) {
  if constexpr (kIs16Bit<S>) {
#pragma unroll
    for (float& e : value.x) e = float(S(e));
  }
  return value;
}

inline bool aligned16(std::initializer_list<const void*> pointers) {
  for (const void* p : pointers)
    if (reinterpret_cast<uintptr_t>(p) % 16 != 0) return false;
  return true;
}

// Elements of S in 16 bytes.
template <class S>
inline constexpr int kWidth = 16 / sizeof(S);

// f(std::integral_constant<int, W>) with W = kWidth<S> where `n`, the elements of a row, is a multiple of it and every
// tensor starts on 16 bytes; an absent tensor (nullptr) does.
template <class S, class F>
void with_width(int64_t n, std::initializer_list<const void*> pointers, F f) {
  if (n % kWidth<S> == 0 && aligned16(pointers))
    f(std::integral_constant<int, kWidth<S>>{});
  else
    f(std::integral_constant<int, 1>{});
}

inline dim3 blocks(int64_t n) { return dim3(unsigned(n)); }

}  // namespace ddp::cuda
