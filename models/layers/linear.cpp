#include "models/layers/linear.h"

namespace ddp {

void Linear::declare(ParamLayout& layout, const std::string& name, int64_t in, int64_t out, double sigma) {
  weight = layout.add(name + ".weight", is_transposed() ? Shape{out, in} : Shape{in, out}, /*decay=*/true,
                      Init::normal(sigma));
  bias = layout.add(name + ".bias", {out}, /*decay=*/false);
}

void Linear::forward(const Pass& pass, const TensorView& y, const TensorView& x) const {
  linear_forward(pass.exec,
                 {.y = y, .x = x, .w = pass.param(weight), .bias = pass.param(bias), .w_transposed = is_transposed()});
}

void Linear::backward_weight(const Pass& pass, const TensorView& x, const TensorView& dy) const {
  linear_backward_weight(pass.exec, {.dw = pass.grad(weight),
                                     .db = pass.grad(bias),
                                     .x = x,
                                     .dy = dy,
                                     .w_transposed = is_transposed(),
                                     .accumulate = pass.accumulate});
  pass.announce(weight);
  pass.announce(bias);
}

void Linear::backward_input(const Pass& pass, const TensorView& dx, const TensorView& dy, bool add) const {
  linear_backward_input(
      pass.exec, {.dx = dx, .dy = dy, .w = pass.param(weight), .w_transposed = is_transposed(), .accumulate = add});
}

}  // namespace ddp
