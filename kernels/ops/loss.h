// Losses. Conventions: kernels/ops.h.
#pragma once

#include <cstdint>

#include "kernels/exec.h"
#include "kernels/op_list.h"
#include "runtime/device/tensor.h"

namespace ddp {

// loss (M) f32 = -log softmax(logits (M,V))[target], over the first `live_columns` columns; where `backward`, logits
// are overwritten with scale * *loss_scale * (softmax - onehot), and with zero in the padding columns. targets (M) i32;
// a target < 0 is ignored: loss and gradient 0. One pass over a chunk of rows, so that the full logits never exist.
struct CrossEntropy {
  TensorView logits, loss, targets;
  int64_t live_columns = 0;
  float scale = 1.0f;
  const float* loss_scale = nullptr;  // device; nullptr: 1
  bool backward = true;
};
void cross_entropy(const Exec& exec, const CrossEntropy& a);

using LossOps = OpList<CrossEntropy>;

}  // namespace ddp
