#include "models/layers/activation.h"

namespace ddp {

void activation_forward(const Pass& pass, Activation activation, const TensorView& y, const TensorView& x) {
  switch (activation) {
    case Activation::gelu_new:
      return gelu_forward(pass.exec, {.y = y, .x = x, .form = GeluForm::tanh});
    case Activation::gelu:
      return gelu_forward(pass.exec, {.y = y, .x = x, .form = GeluForm::erf});
    case Activation::relu:
      return relu_forward(pass.exec, {.y = y, .x = x});
    case Activation::tanh:
      return tanh_forward(pass.exec, {.y = y, .x = x});
  }
}

void activation_backward(const Pass& pass, Activation activation, const TensorView& dx, const TensorView& dy,
                         const TensorView& x) {
  switch (activation) {
    case Activation::gelu_new:
      return gelu_backward(pass.exec, {.dx = dx, .dy = dy, .x = x, .form = GeluForm::tanh});
    case Activation::gelu:
      return gelu_backward(pass.exec, {.dx = dx, .dy = dy, .x = x, .form = GeluForm::erf});
    case Activation::relu:  // which is above 0 where its output is
      return relu_backward(pass.exec, {.dx = dx, .dy = dy, .y = x});
    case Activation::tanh:  // whose gradient is one of its output
      tanh_forward(pass.exec, {.y = x, .x = x});
      return tanh_backward(pass.exec, {.dx = dx, .dy = dy, .y = x});
  }
}

}  // namespace ddp
