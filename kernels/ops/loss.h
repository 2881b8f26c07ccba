// Losses. Conventions: kernels/ops.h.
#pragma once

#include <cstdint>

#include "kernels/exec.h"
#include "kernels/op_list.h"
#include "runtime/base/loss_sums.h"
#include "runtime/device/tensor.h"

namespace ddp {

inline constexpr int32_t kNoRank = INT32_MAX;

// loss (M) f32 = -log softmax(logits (M,V))[target], over the first `live_columns` columns; where `backward`, logits
// are overwritten with scale * *loss_scale * (softmax - onehot), and with zero in the padding columns. targets (M) i32;
// a target < 0 is ignored: loss and gradient 0. One pass over a chunk of rows, so that the full logits never exist.
//
// label_smoothing e: the target's weight is 1 - e, and every live column has e / live_columns besides, as in
// torch.nn.CrossEntropyLoss.
//
// ranks (M) i32, only where not backward, may be empty: how many live columns come before the target where the largest
// logits come first and of equal ones the first column, so that the target is among the k best where its rank is < k.
// Where the target is ignored or the loss is NaN it has kNoRank: it is never among the best, however few the columns.
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

// sums f64 (S, kNumTrainSums or kNumEvalSums), rows by LossSum (=|+= where accumulate), row s over the s-th S-th of the
// targets (M) i32, those that are not below 0: the sum of loss (M) f32, which is 0 for the others, in double over fixed
// blocks; their number; and, with ranks (M) i32 by cross_entropy, how many ranks are below 1 and below 5. The bits of a
// row depend on its losses and on M / S alone.
struct SumLosses {
  TensorView sums, loss, targets;
  TensorView ranks = {};
  bool accumulate = false;
};
void sum_losses(const Exec& exec, const SumLosses& a);

using LossOps = OpList<CrossEntropy, SumLosses>;

}  // namespace ddp
