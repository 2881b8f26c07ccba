#include "kernels/cuda/storage.cuh"
//
#include "kernels/cuda/column_sum.h"
#include "runtime/base/rounding.h"

// M rows, N columns. A block sums kColumns columns: its kRowSlices slices take every kRowSlices-th row, then their sums
// are added pairwise. Neighbouring threads read neighbouring columns: a warp 128 bytes, or 64 of a 16-bit dy, whole
// sectors either way. Packed reads would leave too few blocks for a GPU.
namespace ddp::cuda {
namespace {

constexpr int kColumns = 32, kRowSlices = 32;

struct PartialSums {
  float slice[kRowSlices][kColumns];
};

template <class S, class G>
__global__ void __launch_bounds__(kColumns* kRowSlices)
    column_sum_kernel(G* db, const S* dy, int64_t m, int64_t n, bool accumulate) {
  PartialSums& partial = shared_memory<PartialSums>();
  const int x = int(threadIdx.x), y = int(threadIdx.y);
  const int64_t column = int64_t(blockIdx.x) * kColumns + x;
  float sum = 0.0f;
  if (column < n)
    for (int64_t row = y; row < m; row += kRowSlices) sum += float(dy[row * n + column]);
  partial.slice[y][x] = sum;
  for (int half = kRowSlices / 2; half > 0; half /= 2) {
    __syncthreads();
    if (y < half) partial.slice[y][x] += partial.slice[y + half][x];
  }
  if (y == 0 && column < n) db[column] = G(accumulate ? float(db[column]) + partial.slice[0][x] : partial.slice[0][x]);
}

}  // namespace

void column_sum(Stream& stream, const TensorView& db, const TensorView& dy, bool accumulate) {
  const int64_t m = dy.dim(0), n = dy.dim(1);
  const LaunchShape shape = {"column_sum", dim3(unsigned(ceil_div(n, kColumns))), dim3(kColumns, kRowSlices),
                             sizeof(PartialSums)};
  with_storage(dy.dtype, [&](auto s) {
    using S = decltype(s);
    with_grad<S>(db.dtype, [&](auto g) {
      using G = decltype(g);
      launch(stream, shape, column_sum_kernel<S, G>, db.as<G>(), dy.as<S>(), m, n, accumulate);
    });
  });
}

}  // namespace ddp::cuda
