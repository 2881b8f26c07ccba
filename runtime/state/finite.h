// Whether a flat buffer on the host holds only numbers, by tensor.
#pragma once

#include <limits>
#include <string>

#include "runtime/state/param_layout.h"

namespace ddp {

// The first tensor of `flat` (layout.flat_elements(), f32) that holds a NaN, an infinity or a larger magnitude than
// `largest`; empty where there is none.
std::string first_non_finite(const ParamLayout& layout, const float* flat,
                             float largest = std::numeric_limits<float>::max());

}  // namespace ddp
