// GELU, tanh form, as x s with s = sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3): one exp, one division, and no
// cancellation for negative x. Elementwise over n.
#include "kernels/cuda/pack.cuh"
//
#include "kernels/cuda/run.h"
#include "kernels/ops/elementwise.h"

namespace ddp::cuda {
namespace {

constexpr int kThreads = 256;
constexpr float kTwoSqrt2OverPi = 1.5957691216057308f, kCubic = 0.044715f;

template <class S>
__device__ __forceinline__ float sigmoid_2u(float x) {
  return 1.0f / (1.0f + exp_for<S>(x * (-kTwoSqrt2OverPi - (kTwoSqrt2OverPi * kCubic) * (x * x))));
}

template <class S>
__device__ __forceinline__ float gelu_slope(float x) {
  // From |x| = 20 on s is 0 or 1 exactly; there the cubic must not become infinity times zero. NaN stays NaN.
  x = x > 20.0f ? 20.0f : x;
  x = x < -20.0f ? -20.0f : x;
  const float s = sigmoid_2u<S>(x);
  const float du = kTwoSqrt2OverPi + (3.0f * kTwoSqrt2OverPi * kCubic) * (x * x);  // d(2u)/dx
  return s + x * s * (1.0f - s) * du;
}

template <int W, class S>
__global__ void __launch_bounds__(kThreads) forward(S* y, const S* x, int64_t n) {
  const int64_t i = (int64_t(blockIdx.x) * kThreads + threadIdx.x) * W;
  if (i >= n) return;
  Pack<W> v = load<W>(x + i);
#pragma unroll
  for (float& e : v.x) e *= sigmoid_2u<S>(e);
  store<W>(y + i, v);
}

// dx may be dy.
template <int W, class S>
__global__ void __launch_bounds__(kThreads) backward(S* dx, const S* dy, const S* x, int64_t n) {
  const int64_t i = (int64_t(blockIdx.x) * kThreads + threadIdx.x) * W;
  if (i >= n) return;
  Pack<W> d = load<W>(dy + i);
  const Pack<W> v = load<W>(x + i);
#pragma unroll
  for (int j = 0; j < W; ++j) d.x[j] *= gelu_slope<S>(v.x[j]);
  store<W>(dx + i, d);
}

}  // namespace

template <>
void run(Stream& stream, const GeluForward& a) {
  const int64_t n = a.x.numel();
  with_storage(a.x.dtype, [&](auto s) {
    using S = decltype(s);
    with_width<S>(n, {a.y.data, a.x.data}, [&](auto w) {
      launch(stream, {"gelu_forward", blocks(ceil_div(n, kThreads * w)), kThreads}, forward<w, S>, a.y.as<S>(),
             a.x.as<S>(), n);
    });
  });
}

template <>
void run(Stream& stream, const GeluBackward& a) {
  const int64_t n = a.x.numel();
  with_storage(a.x.dtype, [&](auto s) {
    using S = decltype(s);
    with_width<S>(n, {a.dx.data, a.dy.data, a.x.data}, [&](auto w) {
      launch(stream, {"gelu_backward", blocks(ceil_div(n, kThreads * w)), kThreads}, backward<w, S>, a.dx.as<S>(),
             a.dy.as<S>(), a.x.as<S>(), n);
    });
  });
}

}  // namespace ddp::cuda
