#include "kernels/cuda/launch.cuh"
//
#include "kernels/cuda/column_sum.h"

// M rows, N columns. A block sums kColumns columns: its kLanes lanes take every kLanes-th row, then their sums are
// added pairwise. Neighbouring threads read neighbouring columns, 128 bytes a warp.
namespace ddp::cuda {
namespace {

constexpr int kColumns = 32, kLanes = 32;

struct PartialSums {
  float lane[kLanes][kColumns];
};

__global__ void column_sum_kernel(float* db, const float* dy, int64_t m, int64_t n, bool accumulate) {
  PartialSums& partial = shared_memory<PartialSums>();
  const int x = int(threadIdx.x), y = int(threadIdx.y);
  const int64_t column = int64_t(blockIdx.x) * kColumns + x;
  float sum = 0.0f;
  if (column < n)
    for (int64_t row = y; row < m; row += kLanes) sum += dy[row * n + column];
  partial.lane[y][x] = sum;
  for (int half = kLanes / 2; half > 0; half /= 2) {
    __syncthreads();
    if (y < half) partial.lane[y][x] += partial.lane[y + half][x];
  }
  if (y == 0 && column < n) db[column] = accumulate ? db[column] + partial.lane[0][x] : partial.lane[0][x];
}

}  // namespace

void column_sum(Stream& stream, const TensorView& db, const TensorView& dy, bool accumulate) {
  const int64_t m = dy.dim(0), n = dy.dim(1);
  launch(stream,
         {"column_sum", dim3(unsigned((n + kColumns - 1) / kColumns)), dim3(kColumns, kLanes), sizeof(PartialSums)},
         column_sum_kernel, db.as<float>(), dy.as<float>(), m, n, accumulate);
}

}  // namespace ddp::cuda
