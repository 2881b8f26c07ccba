// The two linear layers of a transformer block with a GELU between them: y = gelu(x W_fc + b) W_proj + b.
#pragma once

#include "models/layers/linear.h"

namespace ddp {

struct Mlp {
  Linear fc, proj;  // (C,4C), (4C,C)
  GeluForm form = GeluForm::tanh;

  // What backward needs of one forward: (M,4C) each, before and after the GELU.
  struct Saved {
    ArenaTensor fc, gelu;
  };

  // `saved` from x (M,C); what follows is `proj` of saved.gelu.
  void inner_forward(const Pass& pass, Saved& saved, const TensorView& x) const;
  // saved.gelu again, the same bits, from saved.fc.
  void gelu_again(const Pass& pass, Saved& saved) const;
  // From dy (M,C): announces proj and returns the gradient (M,4C) of what `fc` wrote, in the memory of saved.gelu;
  // saved.fc goes back to the arena.
  ArenaTensor backward(const Pass& pass, Saved& saved, const TensorView& dy) const;
};

}  // namespace ddp
