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
//
// label_smoothing e: the target's weight is 1 - e, and every live column has e / live_columns besides, as in
// torch.nn.CrossEntropyLoss.
//
// ranks (M) i32, only where not backward, may be empty: how many live columns come before the target where the largest
// logits come first and of equal ones the first column, so that the target is among the k best where its rank is < k.
// Where the target is ignored or the loss is NaN the rank is live_columns: never among the best.
struct CrossEntropy {
  TensorView logits, loss, targets;
  int64_t live_columns = 0;
  float scale = 1.0f;
  const float* loss_scale = nullptr;  // device; nullptr: 1
  bool backward = true;
  float label_smoothing = 0.0f;  // in [0, 1)
  TensorView ranks = {};
};
void cross_entropy(const Exec& exec, const CrossEntropy& a);

using LossOps = OpList<CrossEntropy>;

}  // namespace ddp
