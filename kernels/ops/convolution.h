// Convolutions of images: cross-correlations, as everybody's. A window of 1x1 at stride 1 is a linear layer
// (kernels/ops/linear.h) and faster as one. Conventions: kernels/ops.h.
//
// Legend: N images of H x W positions of C channels in, P x Q of K out; a window of R x S positions. All tensors have
// the channels last. P = (H + 2 padding - R) / stride + 1, rounded down, and Q likewise.
//
// dw is of type S and "=", not of type G: cuDNN has no convolution in 16 bits whose weight gradient is f32. A second op
// adds it to a sum over micro-steps (models/layers/convolution.h).
#pragma once

#include <cstdint>

#include "kernels/exec.h"
#include "kernels/op_list.h"
#include "runtime/device/tensor.h"

namespace ddp {

// The same in both directions.
struct Window {
  int64_t stride = 1, padding = 0;
};
// Positions that a window of `size` has along `length`; 0 where it does not fit.
constexpr int64_t num_windows(int64_t length, int64_t size, const Window& w) {
  const int64_t room = length + 2 * w.padding - size;
  return room < 0 ? 0 : room / w.stride + 1;
}

// y (N,P,Q,K) [n,p,q,k] = sum over r, s, c of x (N,H,W,C) [n, p stride + r - padding, q stride + s - padding, c] times
// w (K,R,S,C) [k,r,s,c]; x is 0 outside.
struct ConvolutionForward {
  TensorView y, x, w;
  Window window = {};
};
void convolution_forward(const Exec& exec, const ConvolutionForward& a);

// dx (N,H,W,C) = the gradient with respect to x.
struct ConvolutionBackwardInput {
  TensorView dx, dy, w;
  Window window = {};
};
void convolution_backward_input(const Exec& exec, const ConvolutionBackwardInput& a);

// dw (K,R,S,C) S = the gradient with respect to w.
struct ConvolutionBackwardWeight {
  TensorView dw, x, dy;
  Window window = {};
};
void convolution_backward_weight(const Exec& exec, const ConvolutionBackwardWeight& a);

using ConvolutionOps = OpList<ConvolutionForward, ConvolutionBackwardInput, ConvolutionBackwardWeight>;

}  // namespace ddp
