#include "models/layers/convolution.h"

#include <cmath>

namespace ddp {
namespace {

// Positions as rows: (M,C).
TensorView as_rows(const TensorView& x) {
  const int64_t c = x.dim(x.shape.rank - 1);
  return x.view({x.numel() / c, c});
}

}  // namespace

void Convolution::declare(ParamLayout& layout, const std::string& name, int64_t in, int64_t live_in) {
  const double fan_out = double(channels * size * size);
  weight = layout.add(name + ".weight", {channels, size, size, in}, /*decay=*/true,
                      Init::normal(std::sqrt(2.0 / fan_out)), {channels, size, size, live_in});
}

Shape Convolution::output(const Shape& x) const {
  return {x[0], num_windows(x[1], size, window), num_windows(x[2], size, window), channels};
}

TensorView Convolution::rows_read(const Pass& pass, ArenaTensor& sub, const TensorView& x) const {
  if (window.stride == 1) return as_rows(x);
  const Shape out = output(x.shape);
  sub = pass.take({out[0], out[1], out[2], x.dim(3)}, "subsampled");
  subsample_forward(pass.exec, {.y = sub, .x = x, .stride = window.stride});
  return as_rows(sub);
}

void Convolution::forward(const Pass& pass, const TensorView& y, const TensorView& x) const {
  const TensorView w = pass.param(weight);
  if (!is_linear()) return convolution_forward(pass.exec, {.y = y, .x = x, .w = w, .window = window});
  ArenaTensor sub;
  linear_forward(pass.exec,
                 {.y = as_rows(y), .x = rows_read(pass, sub, x), .w = as_rows(w), .bias = {}, .w_transposed = true});
}

void Convolution::backward_input(const Pass& pass, const TensorView& dx, const TensorView& dy, bool add) const {
  const TensorView w = pass.param(weight);
  if (is_linear() && window.stride == 1)
    return linear_backward_input(
        pass.exec, {.dx = as_rows(dx), .dy = as_rows(dy), .w = as_rows(w), .w_transposed = true, .accumulate = add});
  ArenaTensor own;  // of what is added
  if (add) own = pass.take(dx.shape, "dx");
  const TensorView& to = add ? own.view() : dx;
  if (is_linear()) {
    const ArenaTensor sub = pass.take({dy.dim(0), dy.dim(1), dy.dim(2), dx.dim(3)}, "dsubsampled");
    linear_backward_input(pass.exec, {.dx = as_rows(sub), .dy = as_rows(dy), .w = as_rows(w), .w_transposed = true});
    subsample_backward(pass.exec, {.dx = to, .dy = sub, .stride = window.stride});
  } else {
    convolution_backward_input(pass.exec, {.dx = to, .dy = dy, .w = w, .window = window});
  }
  if (add) add_into(pass.exec, {.y = dx, .x = own});
}

void Convolution::backward_weight(const Pass& pass, const TensorView& x, const TensorView& dy) const {
  const TensorView dw = pass.grad(weight);
  if (is_linear()) {
    ArenaTensor sub;
    linear_backward_weight(pass.exec, {.dw = as_rows(dw),
                                       .x = rows_read(pass, sub, x),
                                       .dy = as_rows(dy),
                                       .w_transposed = true,
                                       .accumulate = pass.accumulate});
  } else {
    // The op's is S and "=". Where micro-steps may add, which they do in f32 alone, the first takes its part too: all
    // ask the arena for the same tensors.
    const bool in_place = dw.dtype == x.dtype && !pass.accumulate;
    ArenaTensor part;
    if (dw.dtype == wide(dw.dtype)) part = pass.take(dw.shape, "dw");
    convolution_backward_weight(pass.exec, {.dw = in_place ? dw : part.view(), .x = x, .dy = dy, .window = window});
    const Shape flat{dw.numel()};
    if (pass.accumulate)
      add_into(pass.exec, {.y = dw.view(flat), .x = part.view().view(flat)});
    else if (!in_place)
      cast(pass.exec, {.y = dw.view(flat), .x = part.view().view(flat)});
  }
  pass.announce(weight);
}

}  // namespace ddp
