// The C++ types behind DType::f16 and DType::bf16 in kernels, for views of them.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "runtime/device/dtype.h"

namespace ddp {

using bfloat16 = __nv_bfloat16;

template <>
inline constexpr DType kDTypeOf<half> = DType::f16;
template <>
inline constexpr DType kDTypeOf<bfloat16> = DType::bf16;

}  // namespace ddp
