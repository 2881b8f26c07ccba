// Vectors of 16 floats, through GCC's vector extensions: the compiler lowers them on narrower machines, so there is one
// source and no dispatch. Memory holds f32, f16 or bf16, vectors are f32: load and store convert, to the bits of
// float16.h. Beside the storage types, since kernels and the sums of communication need the same. Everything is
// inlined: no vector crosses a call. What includes this is compiled for the machine (kernel_args) with -Wno-psabi.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__AVX512F__) || defined(__F16C__)
#include <immintrin.h>
#endif

#include "runtime/device/float16.h"

namespace ddp::cpu {

#define DDP_INLINE [[gnu::always_inline]] inline

inline constexpr int kVecWidth = 16;

typedef float v16 __attribute__((vector_size(64)));
typedef int32_t v16i __attribute__((vector_size(64)));
typedef uint32_t v16u __attribute__((vector_size(64)));
typedef uint16_t v16h __attribute__((vector_size(32)));
typedef float v8 __attribute__((vector_size(32)));

#ifdef __AVX512F__
// The unmasked intrinsics of GCC 12 warn about an uninitialised operand; with these masks the same instruction comes
// out.
inline constexpr __mmask16 kAll16 = 0xffff;
inline constexpr __mmask8 kAll8 = 0xff;
#endif

inline constexpr v16i kVecIndex = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

DDP_INLINE v16 splat(float x) { return x - v16{}; }

// p needs no alignment.
DDP_INLINE v16 load(const float* p) {
  v16 x;
  std::memcpy(&x, p, sizeof(x));
  return x;
}
DDP_INLINE void store(float* p, v16 x) { std::memcpy(p, &x, sizeof(x)); }

DDP_INLINE v16u widen(v16h x) {
#ifdef __AVX512F__
  return v16u(_mm512_maskz_cvtepu16_epi32(kAll16, __m256i(x)));
#else
  return __builtin_convertvector(x, v16u);
#endif
}
DDP_INLINE v16h narrow(v16u x) {
#ifdef __AVX512F__
  return v16h(_mm512_maskz_cvtepi32_epi16(kAll16, __m512i(x)));
#else
  return __builtin_convertvector(x, v16h);
#endif
}

// x rounded to bf16, in the upper halves; the lower ones are not cleared. By integers: the instruction of AVX512-BF16
// flushes subnormals to zero.
DDP_INLINE v16u round_to_bf16(v16 x) {
  const v16u bits = v16u(x), is_nan = v16u(x != x), odd = bits << 15 >> 31;
  return (bits + (~is_nan & (odd + 0x7fffu))) | (is_nan & 0x400000u);
}

DDP_INLINE v16 load(const BFloat16* p) {
  v16h x;
  std::memcpy(&x, p, sizeof(x));
  return v16(widen(x) << 16);
}
DDP_INLINE void store(BFloat16* p, v16 x) {
  const v16h bits = narrow(round_to_bf16(x) >> 16);
  std::memcpy(static_cast<void*>(p), &bits, sizeof(bits));
}

DDP_INLINE v16 load(const Half* p) {
#if defined(__AVX512F__)
  return v16(_mm512_maskz_cvtph_ps(kAll16, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
#elif defined(__F16C__)
  const auto half = [&](int i) {
    return v8(_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p) + i)));
  };
  return __builtin_shufflevector(half(0), half(1), 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#else
  v16 x;
  for (int i = 0; i < kVecWidth; ++i) x[i] = to_f32(p[i]);
  return x;
#endif
}
DDP_INLINE void store(Half* p, v16 x) {
#if defined(__AVX512F__)
  constexpr int kNearestEven = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_maskz_cvtps_ph(kAll16, __m512(x), kNearestEven));
#elif defined(__F16C__)
  const auto put = [&](int i, v8 half) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p) + i, _mm256_cvtps_ph(__m256(half), _MM_FROUND_TO_NEAREST_INT));
  };
  put(0, __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7));
  put(1, __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15));
#else
  for (int i = 0; i < kVecWidth; ++i) p[i] = to_f16(x[i]);
#endif
}

// x as memory of S would hold it.
template <class S>
DDP_INLINE v16 rounded_to(v16 x) {
  if constexpr (std::is_same_v<S, BFloat16>) return v16(round_to_bf16(x) & 0xffff0000u);
  if constexpr (std::is_same_v<S, Half>) {
    Half memory[kVecWidth];
    store(memory, x);
    return load(memory);
  }
  return x;
}

// The first n elements of p, then `fill`; n >= 16 is a whole vector.
template <class S>
DDP_INLINE v16 load(const S* p, int64_t n, float fill = 0.0f) {
  if (n >= kVecWidth) [[likely]]
    return load(p);
  if (n <= 0) return splat(fill);
  S memory[kVecWidth] = {};
  std::memcpy(static_cast<void*>(memory), p, size_t(n) * sizeof(S));
  const v16 x = load(memory);
  return kVecIndex < int32_t(n) ? x : splat(fill);
}
template <class S>
DDP_INLINE void store(S* p, v16 x, int64_t n) {
  if (n >= kVecWidth) [[likely]]
    return store(p, x);
  if (n <= 0) return;
  S memory[kVecWidth];
  store(memory, x);
  std::memcpy(static_cast<void*>(p), memory, size_t(n) * sizeof(S));
}

}  // namespace ddp::cpu
