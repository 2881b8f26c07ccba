// Positions sorted by token, made on the host while the step before is computed, so that a device can sum an
// embedding's gradient without float atomics.
#pragma once

#include "runtime/state/batch.h"

namespace ddp {

// An input `order` (T) i32 a sample of a model whose `tokens` are (T) i32: over the whole batch the positions
// 0 ... B*T-1 sorted by token, ascending for equal ones. Derived, so of training batches alone.
Input token_order(int64_t context);

}  // namespace ddp
