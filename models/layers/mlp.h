// The two linear layers of a transformer block with an activation between them: y = gelu(x W_fc + b) W_proj + b, where
// gelu stands for whichever it is.
#pragma once

#include "models/layers/linear.h"
#include "models/transformer_options.h"

namespace ddp {

struct Mlp {
  Linear fc, proj;    // (C,W), (W,C)
  int64_t width = 0;  // W
  Activation activation = Activation::gelu_new;

  // What backward needs of one forward: (M,W) each, before and after the activation.
  struct Saved {
    ArenaTensor fc, gelu;
  };

  // `saved` from x (M,C); what follows is `proj` of saved.gelu.
  void inner_forward(const Pass& pass, Saved& saved, const TensorView& x) const;
  // saved.gelu again, the same bits, from saved.fc.
  void gelu_again(const Pass& pass, Saved& saved) const;
  // From dy (M,C): announces proj and returns the gradient (M,W) of what `fc` wrote, in the memory of saved.gelu;
  // saved.fc goes back to the arena.
  ArenaTensor backward(const Pass& pass, Saved& saved, const TensorView& dy) const;
};

}  // namespace ddp
