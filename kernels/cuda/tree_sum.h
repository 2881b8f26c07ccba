// The sum of a deterministic all-reduce on a GPU: no op of a step, but what the communicator does with received slices.
#pragma once

#include "runtime/device/device.h"

namespace ddp::cuda {

// out (n) = the tree over s of sources (S, n), f32 or f64: the aligned pairwise tree of runtime/comm/tree_sum.h,
// ((0+1)+(2+3)), split at the largest power of two below the count. `out` may be outside of sources only.
void tree_sum(const TensorView& out, const TensorView& sources, Stream& stream);

}  // namespace ddp::cuda
