// What the CPU kernels do with vectors of 16 floats (float_vec.h) beyond loading and storing them. No vector libm (its
// bits change with its version) and no -ffast-math: exp and log are ours. A tail of fewer than 16 elements goes through
// the same code on a padded copy, so that an element's bits do not depend on its position in a row.
#pragma once

#include <bit>
#include <limits>

#include "runtime/base/philox.h"
#include "runtime/device/float_vec.h"

namespace ddp::cpu {

typedef uint64_t v8u64 __attribute__((vector_size(64)));
typedef double v8d __attribute__((vector_size(64)));
typedef uint8_t v16b __attribute__((vector_size(16)));

DDP_INLINE v16 max(v16 a, v16 b) { return a > b ? a : b; }

// Lane i gets lane i ^ kStep.
template <int kStep>
DDP_INLINE v16 exchange(v16 x) {
  return __builtin_shufflevector(x, x, 0 ^ kStep, 1 ^ kStep, 2 ^ kStep, 3 ^ kStep, 4 ^ kStep, 5 ^ kStep, 6 ^ kStep,
                                 7 ^ kStep, 8 ^ kStep, 9 ^ kStep, 10 ^ kStep, 11 ^ kStep, 12 ^ kStep, 13 ^ kStep,
                                 14 ^ kStep, 15 ^ kStep);
}

// Horizontal results, always by halves: lanes (i, i + 8), (i, i + 4), ...
DDP_INLINE float sum(v16 x) {
  x += exchange<8>(x);
  x += exchange<4>(x);
  x += exchange<2>(x);
  return x[0] + x[1];
}
DDP_INLINE double sum(v8d x) { return ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7])); }
DDP_INLINE float max(v16 x) {
  x = max(x, exchange<8>(x));
  x = max(x, exchange<4>(x));
  x = max(x, exchange<2>(x));
  return max(x, exchange<1>(x))[0];
}

// The halves of x in double.
DDP_INLINE v8d low_half(v16 x) {
  return __builtin_convertvector(__builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7), v8d);
}
DDP_INLINE v8d high_half(v16 x) {
  return __builtin_convertvector(__builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15), v8d);
}

// The first n bytes as whole numbers, and back; n >= 16 is a whole vector.
DDP_INLINE v16i load_bytes(const uint8_t* p, int64_t n) {
  v16b x{};
  if (n >= kVecWidth) [[likely]]
    std::memcpy(&x, p, sizeof(x));
  else
    std::memcpy(&x, p, size_t(n));
#ifdef __AVX512F__
  return v16i(_mm512_maskz_cvtepu8_epi32(kAll16, __m128i(x)));
#else
  return __builtin_convertvector(x, v16i);
#endif
}
DDP_INLINE void store_bytes(uint8_t* p, v16i x, int64_t n) {
#ifdef __AVX512F__
  const v16b bytes = v16b(_mm512_maskz_cvtepi32_epi8(kAll16, __m512i(x)));
#else
  const v16b bytes = __builtin_convertvector(x, v16b);
#endif
  if (n >= kVecWidth) [[likely]]
    std::memcpy(p, &bytes, sizeof(bytes));
  else
    std::memcpy(p, &bytes, size_t(n));
}

DDP_INLINE v16 sqrtv(v16 x) {
#ifdef __AVX512F__
  return v16(_mm512_maskz_sqrt_ps(kAll16, __m512(x)));
#else
  for (int i = 0; i < kVecWidth; ++i) x[i] = __builtin_sqrtf(x[i]);
  return x;
#endif
}

// p * 2^n for whole n in [-150, 128], rounded once. Both branches give the same bits.
DDP_INLINE v16 scale_by_power(v16 p, v16 n) {
#ifdef __AVX512F__
  return v16(_mm512_maskz_scalef_ps(kAll16, __m512(p), __m512(n)));
#else
  const v16i whole = __builtin_convertvector(n, v16i), half = whole >> 1;
  return p * v16((half + 127) << 23) * v16((whole - half + 127) << 23);
#endif
}

// e^x within 2 ulp; 0 from -104 down, infinity above 88.73, NaN stays NaN. exp(x) = 2^n exp(r), |r| <= ln(2) / 2, with
// the polynomial of Cephes' expf (Moshier).
DDP_INLINE v16 expv(v16 x) {
  constexpr float kToWhole = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
  x = x > 89.0f ? splat(89.0f) : x;
  x = x < -104.0f ? splat(-104.0f) : x;
  const v16 n = (x * 1.44269504088896341f + kToWhole) - kToWhole;
  const v16 r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  v16 p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  return scale_by_power(p, n);
}

// ln(x) within 2 ulp for normal x > 0; infinity and NaN stay what they are. ln(x) = e ln(2) + ln(m), sqrt(1/2) <= m <
// sqrt(2), with the polynomial of Cephes' logf (Moshier).
DDP_INLINE v16 logv(v16 x) {
  const v16i kSqrtHalf = std::bit_cast<int32_t>(0.707106781186547524f) - v16i{};
  const v16i exponent = (v16i(x) - kSqrtHalf) >> 23;
  const v16 m = v16(v16i(x) - (exponent << 23)) - 1.0f;
  const v16 e = __builtin_convertvector(exponent, v16), z = m * m;
  v16 p = m * 7.0376836292e-2f - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  p = p * m * z + e * -2.12194440e-4f - z * 0.5f;
  const v16 y = m + p + e * 0.693359375f;
  return x < std::numeric_limits<float>::infinity() ? y : x;
}

struct Zip {
  v16 low, high;  // a0 b0 a1 b1 ... a7 b7 | a8 b8 ... a15 b15
};
DDP_INLINE Zip zip(v16 a, v16 b) {
  return {__builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23),
          __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)};
}

// The 16 x 16 transpose of x. Zipping rows i and i + 8 rotates the 8-bit index (row, column) by one bit; four times
// swaps the two.
DDP_INLINE void transpose(v16 (&x)[kVecWidth]) {
#pragma GCC unroll 4
  for (int round = 0; round < 4; ++round) {
    v16 y[kVecWidth];
#pragma GCC unroll 8
    for (int i = 0; i < kVecWidth / 2; ++i) {
      const Zip z = zip(x[i], x[i + kVecWidth / 2]);
      y[2 * i] = z.low, y[2 * i + 1] = z.high;
    }
#pragma GCC unroll 16
    for (int i = 0; i < kVecWidth; ++i) x[i] = y[i];
  }
}

// Philox4x32-10 for 16 counters at once: lane i of word w is philox(k0, k1, c0[i], c1[i], c2, c3).word[w].
struct Philox16 {
  v16u word[4];
};

// The upper halves of the 64-bit products x * m.
DDP_INLINE v16u multiply_high(v16u x, uint32_t m) {
#ifdef __AVX512F__
  const __m512i factor = _mm512_set1_epi64(m);
  const v8u64 even = v8u64(_mm512_maskz_mul_epu32(kAll8, __m512i(x), factor));
  const v8u64 odd = v8u64(_mm512_maskz_mul_epu32(kAll8, __m512i(v8u64(x) >> 32), factor));
#else
  const v8u64 even = (v8u64(x) & 0xffffffffu) * m, odd = (v8u64(x) >> 32) * m;
#endif
  return v16u(even >> 32 | (odd & 0xffffffff00000000u));
}

DDP_INLINE Philox16 philox(uint32_t k0, uint32_t k1, v16u c0, v16u c1, uint32_t c2_all, uint32_t c3_all) {
  v16u c2 = c2_all - v16u{}, c3 = c3_all - v16u{};
  for (int round = 0; round < 10; ++round) {
    const v16u n0 = multiply_high(c2, kPhiloxMul1) ^ c1 ^ k0, n2 = multiply_high(c0, kPhiloxMul0) ^ c3 ^ k1;
    c1 = c2 * kPhiloxMul1, c3 = c0 * kPhiloxMul0;
    c0 = n0, c2 = n2;
    k0 += kPhiloxKey0, k1 += kPhiloxKey1;
  }
  return {{c0, c1, c2, c3}};
}

}  // namespace ddp::cpu
