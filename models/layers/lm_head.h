// The classifier over the vocabulary fused with the loss, a group of rows at a time, so that the full logits (M,V)
// never exist.
#pragma once

#include "models/layers/pass.h"

namespace ddp {

struct LmHead {
  ParamId weight;            // (V padded, C); GPT-2 ties it to the token embedding
  int64_t live_columns = 0;  // vocabulary without padding
  int64_t rows_at_once =
      256;  // rows of logits alive at once; part of the order of sums, so fixed for a device and type

  // token_loss (M) from x (M,C) and targets (M).
  void forward(const Pass& pass, const TensorView& token_loss, const TensorView& x, const TensorView& targets) const;
  // Factors of d(loss): scale * *loss_scale, the latter on the device or nullptr.
  struct LossGrad {
    float scale = 1.0f;
    const float* loss_scale = nullptr;
  };
  // The same, and dx (M,C) =, dw (V,C) f32 (=|+=): by groups of rows in order. Does not announce: a tied weight has a
  // contribution to come.
  void forward_backward(const Pass& pass, const TensorView& token_loss, const TensorView& dx, const TensorView& dw,
                        const TensorView& x, const TensorView& targets, const LossGrad& loss_grad) const;
};

}  // namespace ddp
