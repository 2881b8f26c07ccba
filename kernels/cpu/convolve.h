// Convolutions on the calling thread, by oneDNN: what convolution.cpp spreads over the pool. oneDNN is fast only where
// the layout of the weights is its own (from plain ones it computes by its reference, a thousand times slower), so an
// op packs them once for all of its calls, and unpacks their gradient.
#pragma once

#include <compare>
#include <cstdint>

#include "runtime/device/dtype.h"

namespace ddp::cpu {

enum class ConvolutionPass { forward, input, weight };

// Legend: kernels/ops/convolution.h. `type`: f32, or bf16 where gemm_takes_bf16(); that of all but the packed gradient
// of the weights, which is f32. `turned`, for the pass forward: the plain weights are (C,R,S,K), with the windows from
// back to front.
struct ConvolutionShape {
  ConvolutionPass pass = ConvolutionPass::forward;
  DType type = DType::f32;
  int64_t n = 0, h = 0, w = 0, c = 0, p = 0, q = 0, k = 0, r = 0, s = 0;
  int64_t stride = 1, padding_h = 0, padding_w = 0;
  bool turned = false;

  auto operator<=>(const ConvolutionShape&) const = default;
};

// Of packed weights, or of their packed gradient. The layout does not depend on n.
int64_t packed_floats(const ConvolutionShape& shape);
// Of the positions of a window in [begin, end), which are counted row by row, up to r s: packed = w (K,R,S,C), in the
// passes forward and input; dw (K,R,S,C), rounded once, = packed, in the pass weight.
void pack_weights(const ConvolutionShape& shape, float* packed, const void* w, int64_t begin, int64_t end);
void unpack_weights(const ConvolutionShape& shape, void* dw, const float* packed, int64_t begin, int64_t end);

// The pass's output among x (or dx), packed (or dw, packed) and y (or dy) = what the two others say.
void convolve(const ConvolutionShape& shape, void* x, float* packed, void* y);

}  // namespace ddp::cpu
