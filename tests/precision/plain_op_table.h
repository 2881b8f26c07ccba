// What a backend's precision is measured against: the ops as the loops of tests/ops/reference.h, on the CPU device. The
// storage type of a call's tensors says what they are. f64: the reference, rounded nowhere. f16, bf16, f32: an unfused
// framework in that precision, in which every tensor between two steps of an op is rounded. So a model trained with
// this table and a 16-bit storage type is "naive" mixed precision, with f32 master parameters; its error is the
// yardstick, and since its sums are exact, a strict one.
//
// The CPU's are the entries that have no plain form here: those that only decide (find_non_finite, step_finalize,
// adamw_correct; kernels/step_state.h is the same for every backend) and update_state, which is in double already.
#pragma once

#include "kernels/op_table.h"

namespace ddp::test {

const OpTable& plain_op_table();

}  // namespace ddp::test
