// The classifier over a vocabulary, or over classes, fused with the loss, a group of rows at a time, so that the full
// logits (M,V) never exist.
#pragma once

#include "models/layers/pass.h"

namespace ddp {

// Columns that a vocabulary is computed with: up to a multiple of 64, as fast products want it.
int64_t padded_vocab(int64_t vocab);
// Rows of such logits alive at once: on the CPU so few that they stay in the cache; on CUDA the largest power of two
// within 128 MiB, which fill the GPU.
int64_t vocab_rows_at_once(int64_t vocab, DType storage, DeviceKind device);

struct Classifier {
  ParamId weight;                // (V padded, C); tied to a token embedding, or of its own
  ParamId bias = {};             // (V padded); none where it is not set
  int64_t live_columns = 0;      // vocabulary without padding
  float label_smoothing = 0.0f;  // of the loss in training
  // Rows of logits alive at once; part of the order of sums, so fixed for a device and type.
  int64_t rows_at_once = 256;

  // pass.sums from x (M,C) and targets (M), of which each of S samples has M / S.
  void forward(const Pass& pass, const TensorView& x, const TensorView& targets) const;
  // Factors of d(loss): scale * *loss_scale, the latter on the device or nullptr.
  struct LossGrad {
    float scale = 1.0f;
    const float* loss_scale = nullptr;
  };
  // Where the gradients go.
  struct Grads {
    TensorView dx;       // (M,C), written
    TensorView dw;       // (V,C) f32 (=|+=)
    TensorView db = {};  // (V) f32 (=|+=), empty without bias
  };
  // The same, and the gradients: by groups of rows in order. Does not announce: a tied weight has a contribution to
  // come.
  void forward_backward(const Pass& pass, const Grads& grads, const TensorView& x, const TensorView& targets,
                        const LossGrad& loss_grad) const;

 private:
  bool has_bias() const { return bias.index >= 0; }
  TensorView bias_of(const Pass& pass) const { return has_bias() ? pass.param(bias) : TensorView(); }
};

}  // namespace ddp
