#include "models/layers/mlp.h"

#include <utility>

#include "models/layers/activation.h"

namespace ddp {

void Mlp::inner_forward(const Pass& pass, Saved& saved, const TensorView& x) const {
  saved.fc = pass.take({x.dim(0), width}, "fc");
  fc.forward(pass, saved.fc, x);
  gelu_again(pass, saved);
}

void Mlp::gelu_again(const Pass& pass, Saved& saved) const {
  saved.gelu = pass.take(saved.fc.view().shape, "gelu");
  activation_forward(pass, activation, saved.gelu, saved.fc);
}

// gelu is needed for the weight's gradient alone, so its own gradient, and then fc's, take its place.
ArenaTensor Mlp::backward(const Pass& pass, Saved& saved, const TensorView& dy) const {
  proj.backward_weight(pass, saved.gelu, dy);
  const TensorView dfc = saved.gelu;
  proj.backward_input(pass, dfc, dy);
  activation_backward(pass, activation, dfc, dfc, saved.fc);
  saved.fc.release();
  return std::move(saved.gelu);
}

}  // namespace ddp
