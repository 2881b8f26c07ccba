// Kernels of ops that treat each element by itself. F is the function: a type with a static apply<S>, of floats.
#pragma once

#include "kernels/cuda/pack.cuh"

namespace ddp::cuda {

inline constexpr int kElementThreads = 256;

// y may be x.
template <class F, int W, class S>
__global__ void __launch_bounds__(kElementThreads) map_one(S* y, const S* x, int64_t n) {
  const int64_t i = (int64_t(blockIdx.x) * kElementThreads + threadIdx.x) * W;
  if (i >= n) return;
  Pack<W> v = load<W>(x + i);
#pragma unroll
  for (float& e : v.x) e = F::template apply<S>(e);
  store<W>(y + i, v);
}

// y may be a.
template <class F, int W, class S>
__global__ void __launch_bounds__(kElementThreads) map_two(S* y, const S* a, const S* b, int64_t n) {
  const int64_t i = (int64_t(blockIdx.x) * kElementThreads + threadIdx.x) * W;
  if (i >= n) return;
  Pack<W> v = load<W>(a + i);
  const Pack<W> other = load<W>(b + i);
#pragma unroll
  for (int j = 0; j < W; ++j) v.x[j] = F::template apply<S>(v.x[j], other.x[j]);
  store<W>(y + i, v);
}

// y = F(x), all of one storage type; `name` is the op's.
template <class F>
void map_elements(Stream& stream, const char* name, const TensorView& y, const TensorView& x) {
  const int64_t n = x.numel();
  with_storage(x.dtype, [&](auto s) {
    using S = decltype(s);
    with_width<S>(n, {y.data, x.data}, [&](auto w) {
      launch(stream, {name, blocks(ceil_div(n, kElementThreads * w)), kElementThreads}, map_one<F, w, S>, y.as<S>(),
             x.as<S>(), n);
    });
  });
}

// y = F(a, b).
template <class F>
void map_elements(Stream& stream, const char* name, const TensorView& y, const TensorView& a, const TensorView& b) {
  const int64_t n = a.numel();
  with_storage(a.dtype, [&](auto s) {
    using S = decltype(s);
    with_width<S>(n, {y.data, a.data, b.data}, [&](auto w) {
      launch(stream, {name, blocks(ceil_div(n, kElementThreads * w)), kElementThreads}, map_two<F, w, S>, y.as<S>(),
             a.as<S>(), b.as<S>(), n);
    });
  });
}

}  // namespace ddp::cuda
