// Between storage types, over n elements. A conversion that widens is exact, one that narrows rounds to the nearest,
// ties to even.
#include "kernels/cuda/pack.cuh"
//
#include "kernels/cuda/run.h"
#include "kernels/ops/elementwise.h"

namespace ddp::cuda {
namespace {

constexpr int kThreads = 256;

template <int W, class Y, class X>
__global__ void __launch_bounds__(kThreads) cast_elements(Y* y, const X* x, int64_t n) {
  const int64_t i = (int64_t(blockIdx.x) * kThreads + threadIdx.x) * W;
  if (i < n) store<W>(y + i, load<W>(x + i));
}

}  // namespace

template <>
void run(Stream& stream, const Cast& a) {
  const int64_t n = a.x.numel();
  with_storage(a.y.dtype, [&](auto y) {
    with_storage(a.x.dtype, [&](auto x) {
      using Y = decltype(y);
      using X = decltype(x);
      // As wide as the narrower of both wants.
      with_width<std::conditional_t<kIs16Bit<Y>, Y, X>>(n, {a.y.data, a.x.data}, [&](auto w) {
        launch(stream, {"cast", blocks(ceil_div(n, kThreads * w)), kThreads}, cast_elements<w, Y, X>, a.y.as<Y>(),
               a.x.as<X>(), n);
      });
    });
  });
}

}  // namespace ddp::cuda
