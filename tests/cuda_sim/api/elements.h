// Elements of matrices and images as the simulated libraries read and write them: of a storage type, computed with in
// f32.
#pragma once

#include <bit>
#include <cstdint>
#include <cstdlib>

#include "runtime/device/dtype.h"
#include "runtime/device/float16.h"

namespace ddp::sim {

// Element i.
inline float read(const void* x, DType type, int64_t i) {
  if (type == DType::f16) return to_f32(static_cast<const Half*>(x)[i]);
  if (type == DType::bf16) return to_f32(static_cast<const BFloat16*>(x)[i]);
  return static_cast<const float*>(x)[i];
}

inline void write(void* x, DType type, int64_t i, float value) {
  if (type == DType::f16)
    static_cast<Half*>(x)[i] = to_f16(value);
  else if (type == DType::bf16)
    static_cast<BFloat16*>(x)[i] = to_bf16(value);
  else
    static_cast<float*>(x)[i] = value;
}

// To the nearest of 10 bits of mantissa, ties away from zero (cvt.rna.tf32).
inline float to_tf32(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  return x - x != 0.0f ? x : std::bit_cast<float>((bits + (1u << 12)) & ~((1u << 13) - 1));
}

// Of the simulated GPU: from compute capability 8.0 on there are bf16 and tf32.
inline bool has_bf16_and_tf32() {
  const char* capability = std::getenv("DDP_SIM_CAPABILITY");
  return capability != nullptr && std::atof(capability) >= 8.0;
}

}  // namespace ddp::sim
