#include "kernels/ops/convolution.h"

#include "kernels/ops/front_door.h"

namespace ddp {
namespace {

// Checks what x, w and y are to each other; returns the operations of one direction.
int64_t check_convolution(const char* op, DType type, const TensorView& x, const TensorView& w, const TensorView& y,
                          const Window& window) {
  DDP_CHECK(x.shape.rank == 4 && w.shape.rank == 4, "{}: x {} and w {}", op, x.shape.text(), w.shape.text());
  DDP_CHECK(window.stride >= 1 && window.padding >= 0, "{}: stride {}, padding {}", op, window.stride, window.padding);
  const int64_t n = x.dim(0), k = w.dim(0), r = w.dim(1), s = w.dim(2), c = x.dim(3);
  const int64_t p = num_windows(x.dim(1), r, window), q = num_windows(x.dim(2), s, window);
  DDP_CHECK(p >= 1 && q >= 1, "{}: a window of {} in {}", op, w.shape.text(), x.shape.text());
  check_shape(op, "x", x, x.shape, type);
  check_shape(op, "w", w, {k, r, s, c}, type);
  check_shape(op, "y", y, {n, p, q, k}, type);
  return 2 * y.numel() * r * s * c;
}

}  // namespace

void convolution_forward(const Exec& exec, const ConvolutionForward& a) {
  constexpr const char* kOp = "convolution_forward";
  const int64_t flops = check_convolution(kOp, storage_type(kOp, exec, a.x), a.x, a.w, a.y, a.window);
  submit(exec, kOp, flops, a, {a.x, a.w}, {a.y});
}

void convolution_backward_input(const Exec& exec, const ConvolutionBackwardInput& a) {
  constexpr const char* kOp = "convolution_backward_input";
  const int64_t flops = check_convolution(kOp, storage_type(kOp, exec, a.dy), a.dx, a.w, a.dy, a.window);
  submit(exec, kOp, flops, a, {a.dy, a.w}, {a.dx});
}

void convolution_backward_weight(const Exec& exec, const ConvolutionBackwardWeight& a) {
  constexpr const char* kOp = "convolution_backward_weight";
  const int64_t flops = check_convolution(kOp, storage_type(kOp, exec, a.x), a.x, a.dw, a.dy, a.window);
  submit(exec, kOp, flops, a, {a.x, a.dy}, {a.dw});
}

}  // namespace ddp
