// An f32 rounded to a storage type that is a template's parameter.
#pragma once

#include "runtime/device/float16.h"

namespace ddp::test {

template <class S>
constexpr S from_f32(float x) {
  if constexpr (kDTypeOf<S> == DType::f16)
    return to_f16(x);
  else if constexpr (kDTypeOf<S> == DType::bf16)
    return to_bf16(x);
  else
    return S(x);
}

}  // namespace ddp::test
