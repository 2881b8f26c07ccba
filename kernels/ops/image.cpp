#include "kernels/ops/image.h"

#include "kernels/ops/convolution.h"
#include "kernels/ops/front_door.h"

namespace ddp {
namespace {

void check_image(const char* op, const char* name, const TensorView& x) {
  DDP_CHECK(x && x.shape.rank == 4, "{}: {} is {}", op, name, x.shape.text());
}

// What every stride-th position of both directions is of an image of this shape.
Shape subsampled(const char* op, const Shape& x, int64_t stride) {
  DDP_CHECK(stride >= 1, "{}: stride {}", op, stride);
  const Window window = {.stride = stride};
  return {x[0], num_windows(x[1], 1, window), num_windows(x[2], 1, window), x[3]};
}

}  // namespace

void normalise_images(const Exec& exec, const NormaliseImages& a) {
  constexpr const char* kOp = "normalise_images";
  check_image(kOp, "x", a.x);
  check_image(kOp, "y", a.y);
  const int64_t c = a.x.dim(3), padded = a.y.dim(3);
  DDP_CHECK(c >= 1 && c <= kMaxImageChannels && padded >= c, "{}: {} channels as {}", kOp, c, padded);
  check_shape(kOp, "x", a.x, a.x.shape, DType::u8);
  check_shape(kOp, "y", a.y, {a.x.dim(0), a.x.dim(1), a.x.dim(2), padded}, storage_type(kOp, exec, a.y));
  submit(exec, kOp, 0, a, {a.x}, {a.y});
}

ChannelAffine channel_affine(const NormaliseImages& a) {
  ChannelAffine out{};
  for (size_t i = 0; i < size_t(a.x.dim(3)); ++i) {
    const double mean = double(a.mean[i]), deviation = double(a.deviation[i]);
    out.factor[i] = float(1.0 / (255.0 * deviation));
    out.offset[i] = float(-mean / deviation);
  }
  return out;
}

void subsample_forward(const Exec& exec, const SubsampleForward& a) {
  constexpr const char* kOp = "subsample_forward";
  check_image(kOp, "x", a.x);
  check_shape(kOp, "y", a.y, subsampled(kOp, a.x.shape, a.stride), storage_type(kOp, exec, a.x));
  submit(exec, kOp, 0, a, {a.x}, {a.y});
}

void subsample_backward(const Exec& exec, const SubsampleBackward& a) {
  constexpr const char* kOp = "subsample_backward";
  check_image(kOp, "dx", a.dx);
  check_shape(kOp, "dy", a.dy, subsampled(kOp, a.dx.shape, a.stride), storage_type(kOp, exec, a.dx));
  submit(exec, kOp, 0, a, {a.dy}, {a.dx});
}

void average_pool_forward(const Exec& exec, const AveragePoolForward& a) {
  constexpr const char* kOp = "average_pool_forward";
  check_image(kOp, "x", a.x);
  check_shape(kOp, "y", a.y, {a.x.dim(0), a.x.dim(3)}, storage_type(kOp, exec, a.x));
  submit(exec, kOp, 0, a, {a.x}, {a.y});
}

void average_pool_backward(const Exec& exec, const AveragePoolBackward& a) {
  constexpr const char* kOp = "average_pool_backward";
  check_image(kOp, "dx", a.dx);
  check_shape(kOp, "dy", a.dy, {a.dx.dim(0), a.dx.dim(3)}, storage_type(kOp, exec, a.dx));
  submit(exec, kOp, 0, a, {a.dy}, {a.dx});
}

}  // namespace ddp
