// Whether a flat buffer on the host holds only numbers, by tensor.
#pragma once

#include <string>

#include "runtime/state/param_layout.h"

namespace ddp {

// The first tensor of `flat` (layout.flat_elements(), f32) that holds a NaN or an infinity; empty where all is finite.
std::string first_non_finite(const ParamLayout& layout, const float* flat);

}  // namespace ddp
