// The C++ type behind DType::f16, for views of it.
#pragma once

#include <cuda_fp16.h>

#include "runtime/device/dtype.h"

namespace ddp {

template <>
inline constexpr DType kDTypeOf<half> = DType::f16;

}  // namespace ddp
