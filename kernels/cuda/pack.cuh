// Accesses of W neighbouring floats at once: 16 bytes where the tensors allow it (W = 4), single floats elsewhere. A
// kernel is written once over W, and its launcher chooses.
#pragma once

#include <type_traits>

#include "kernels/cuda/launch.cuh"

namespace ddp::cuda {

template <int W>
struct alignas(4 * W) Pack {
  float x[W];
};

template <int W>
__device__ __forceinline__ Pack<W> load(const float* from) {
  const auto& pack = *reinterpret_cast<const Pack<W>*>(from);  // the sanitizer checks where references are made
  return pack;
}
template <int W>
__device__ __forceinline__ void store(float* to, const Pack<W>& value) {
  auto& pack = *reinterpret_cast<Pack<W>*>(to);
  pack = value;
}

inline bool aligned16(std::initializer_list<const void*> pointers) {
  for (const void* p : pointers)
    if (reinterpret_cast<uintptr_t>(p) % 16 != 0) return false;
  return true;
}

// f(std::integral_constant<int, W>) with W = 4 where `n`, the elements of a row, is a multiple of 4 and every tensor
// starts on 16 bytes; an absent tensor (nullptr) does.
template <class F>
void with_width(int64_t n, std::initializer_list<const void*> pointers, F f) {
  if (n % 4 == 0 && aligned16(pointers))
    f(std::integral_constant<int, 4>{});
  else
    f(std::integral_constant<int, 1>{});
}

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline dim3 blocks(int64_t n) { return dim3(unsigned(n)); }

}  // namespace ddp::cuda
