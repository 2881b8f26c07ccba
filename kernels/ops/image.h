// What images need beside convolutions and norms. Tensors are (N,H,W,C), channels last. Conventions: kernels/ops.h.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/exec.h"
#include "kernels/op_list.h"
#include "runtime/device/tensor.h"

namespace ddp {

// Channels that an image may have.
inline constexpr int64_t kMaxImageChannels = 4;

// y (N,H,W,P) S = (x (N,H,W,C) u8 / 255 - mean[c]) / deviation[c], the channels from C to P filled with 0. P >= C.
struct NormaliseImages {
  TensorView y, x;
  std::array<float, kMaxImageChannels> mean = {}, deviation = {};  // of values in [0, 1]
};
void normalise_images(const Exec& exec, const NormaliseImages& a);

// The same as x factor + offset, for backends.
struct ChannelAffine {
  float factor[kMaxImageChannels], offset[kMaxImageChannels];
};
ChannelAffine channel_affine(const NormaliseImages& a);

// y (N,P,Q,C) = x (N,H,W,C) at every stride-th position of both directions, from the first on: what a window of 1x1
// reads. P = (H - 1) / stride + 1, Q likewise.
struct SubsampleForward {
  TensorView y, x;
  int64_t stride = 1;
};
void subsample_forward(const Exec& exec, const SubsampleForward& a);

// dx (N,H,W,C) = dy (N,P,Q,C) at those positions and 0 elsewhere.
struct SubsampleBackward {
  TensorView dx, dy;
  int64_t stride = 1;
};
void subsample_backward(const Exec& exec, const SubsampleBackward& a);

// y (N,C) = the mean of x (N,H,W,C) over its positions, summed in their order or in one fixed by H W.
struct AveragePoolForward {
  TensorView y, x;
};
void average_pool_forward(const Exec& exec, const AveragePoolForward& a);

// dx (N,H,W,C) = dy (N,C) / (H W) at every position.
struct AveragePoolBackward {
  TensorView dx, dy;
};
void average_pool_backward(const Exec& exec, const AveragePoolBackward& a);

using ImageOps = OpList<NormaliseImages, SubsampleForward, SubsampleBackward, AveragePoolForward, AveragePoolBackward>;

}  // namespace ddp
