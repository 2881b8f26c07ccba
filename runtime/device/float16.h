// The C++ types behind DType::f16 and DType::bf16 on the host: 16 bits, and their conversion to and from f32 in
// portable code, rounding to the nearest with ties to even. Kernels convert many at once with instructions of the
// machine, to the same bits.
#pragma once

#include <bit>

#include "runtime/device/dtype.h"

namespace ddp {

struct Half {  // IEEE binary16
  uint16_t bits = 0;
};
struct BFloat16 {  // the upper half of an f32
  uint16_t bits = 0;
};
template <>
inline constexpr DType kDTypeOf<Half> = DType::f16;
template <>
inline constexpr DType kDTypeOf<BFloat16> = DType::bf16;

constexpr float to_f32(float x) { return x; }

constexpr float to_f32(BFloat16 x) { return std::bit_cast<float>(uint32_t(x.bits) << 16); }

constexpr float to_f32(Half x) {
  const uint32_t sign = uint32_t(x.bits & 0x8000u) << 16, exponent = x.bits >> 10 & 0x1fu, mantissa = x.bits & 0x3ffu;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000u | mantissa << 13);  // infinity, NaN
  if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
  return (sign != 0 ? -1.0f : 1.0f) * float(mantissa) * 0x1p-24f;  // zero, subnormal
}

// x >> shift, rounded to the nearest with ties to even.
constexpr uint32_t shift_right_rounded(uint32_t x, uint32_t shift) {
  return (x + (1u << (shift - 1)) - 1 + (x >> shift & 1u)) >> shift;
}

constexpr BFloat16 to_bf16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {uint16_t(bits >> 16 | 0x40u)};  // NaN stays quiet, with its sign
  return {uint16_t(shift_right_rounded(bits, 16))};
}

constexpr Half to_f16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return {uint16_t(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu))};
  if (magnitude >= 0x477ff000u) return {uint16_t(sign | 0x7c00u)};  // 65520 and up round to infinity
  if (magnitude >= 0x38800000u) return {uint16_t(sign | shift_right_rounded(magnitude - (112u << 23), 13))};
  if (magnitude <= 0x33000000u) return {uint16_t(sign)};  // 2^-25 and below round to zero
  const uint32_t exponent = magnitude >> 23, mantissa = (magnitude & 0x7fffffu) | 0x800000u;
  return {uint16_t(sign | shift_right_rounded(mantissa, 126 - exponent))};  // subnormal
}

}  // namespace ddp
