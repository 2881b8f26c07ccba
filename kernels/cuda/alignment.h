// What cuBLASLt and cuDNN are told of an operand's address, on which their algorithms depend.
#pragma once

#include <cstdint>
#include <initializer_list>

namespace ddp::cuda {

// The largest power of two, at most 16, that divides every address.
inline uint32_t alignment_of(std::initializer_list<const void*> pointers) {
  uintptr_t bits = 16;
  for (const void* p : pointers) bits |= reinterpret_cast<uintptr_t>(p);
  return uint32_t(bits & -bits);
}

}  // namespace ddp::cuda
