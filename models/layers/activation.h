// The function between two linear layers, which a key of the configuration chooses.
#pragma once

#include "models/layers/pass.h"
#include "models/transformer_options.h"

namespace ddp {

// y = activation(x), all of x's shape.
void activation_forward(const Pass& pass, Activation activation, const TensorView& y, const TensorView& x);
// dx = dy * activation'(x), from forward's x, which may be overwritten. dx may be dy.
void activation_backward(const Pass& pass, Activation activation, const TensorView& dx, const TensorView& dy,
                         const TensorView& x);

}  // namespace ddp
