// Dropout by itself, a block a row.
#include "kernels/cuda/dropout.cuh"

#include "kernels/cuda/run.h"
#include "kernels/ops/elementwise.h"

namespace ddp::cuda {
namespace {

constexpr int kThreads = 128;

// y may be x.
template <int W, class S>
__global__ void __launch_bounds__(kThreads) dropout_rows(S* y, const S* x, int64_t c, RowMask mask) {
  const int64_t row = blockIdx.x;
  for (int64_t i = threadIdx.x * W; i < c; i += kThreads * W) {
    Pack<W> v = load<W>(x + row * c + i);
    if (mask.step != nullptr) {
      const Pack<W> k = keep<W>(mask, row, i, c);
#pragma unroll
      for (int j = 0; j < W; ++j) v.x[j] *= k.x[j];
    }
    store<W>(y + row * c + i, v);
  }
}

}  // namespace

template <>
void run(Stream& stream, const ApplyDropout& a) {
  const int64_t m = a.x.dim(0), c = a.x.dim(1);
  with_storage(a.x.dtype, [&](auto s) {
    using S = decltype(s);
    with_width<S>(c, {a.y.data, a.x.data}, [&](auto w) {
      launch(stream, {"apply_dropout", blocks(m), kThreads}, dropout_rows<w, S>, a.y.as<S>(), a.x.as<S>(), c,
             row_mask(a.dropout, m));
    });
  });
}

}  // namespace ddp::cuda
