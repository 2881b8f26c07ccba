#include "models/layers/mlp.h"

#include <utility>

namespace ddp {

void Mlp::inner_forward(const Pass& pass, Saved& saved, const TensorView& x) const {
  saved.fc = pass.take({x.dim(0), 4 * x.dim(1)}, "fc");
  fc.forward(pass, saved.fc, x);
  gelu_again(pass, saved);
}

void Mlp::gelu_again(const Pass& pass, Saved& saved) const {
  saved.gelu = pass.take(saved.fc.view().shape, "gelu");
  gelu_forward(pass.exec, {.y = saved.gelu, .x = saved.fc, .form = form});
}

// gelu is needed for the weight's gradient alone, so its own gradient, and then fc's, take its place.
ArenaTensor Mlp::backward(const Pass& pass, Saved& saved, const TensorView& dy) const {
  proj.backward_weight(pass, saved.gelu, dy);
  const TensorView dfc = saved.gelu;
  proj.backward_input(pass, dfc, dy);
  gelu_backward(pass.exec, {.dx = dfc, .dy = dfc, .x = saved.fc, .form = form});
  saved.fc.release();
  return std::move(saved.gelu);
}

}  // namespace ddp
