// From the dtype of a tensor to the C++ type of its elements: each kernel is written once, over the storage type S of
// the run, and loads and stores through vec.h.
#pragma once

#include "runtime/base/check.h"
#include "runtime/device/float16.h"

namespace ddp::cpu {

// f(S{}) where `type` is that of S: float, Half or BFloat16.
template <class F>
void with_storage(DType type, F f) {
  switch (type) {
    case DType::f32:
      return f(float{});
    case DType::f16:
      return f(Half{});
    case DType::bf16:
      return f(BFloat16{});
    default:
      DDP_CHECK(false, "storage of {}", dtype_name(type));
  }
}

// f(G{}) for a weight gradient of a computation in S: float or S.
template <class S, class F>
void with_grad(DType type, F f) {
  if (type == DType::f32) return f(float{});
  f(S{});
}

}  // namespace ddp::cpu
