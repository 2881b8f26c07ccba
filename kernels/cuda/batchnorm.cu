// Batch norm over the rows of (M,C): sums of blocks of kBatchNormRows rows, then over blocks, then a pass over the
// elements. Column sums take 32 neighbouring columns a block of threads, whole sectors of memory, and the rows in
// kSlices interleaved sums.
#include "kernels/cuda/warp.cuh"

#include "kernels/cuda/pack.cuh"
#include "kernels/cuda/run.h"
#include "kernels/ops/norm.h"

namespace ddp::cuda {
namespace {

constexpr int kSlices = 8, kMergeSlices = 32, kThreads = 256;

struct SliceSums {
  float2 sum[kSlices][kWarp];
};

// The sum over slices, for every thread of the block.
__device__ __forceinline__ float2 sum_slices(float2 mine, SliceSums& shared) {
  __syncthreads();
  shared.sum[threadIdx.y][threadIdx.x] = mine;
  __syncthreads();
  float2 total = shared.sum[0][threadIdx.x];
#pragma unroll
  for (int s = 1; s < kSlices; ++s) total = Add{}(total, shared.sum[s][threadIdx.x]);
  return total;
}

struct Rows {
  int64_t begin, end;
};
__device__ __forceinline__ Rows rows_of_block(int64_t m) {
  const int64_t begin = int64_t(blockIdx.x) * kBatchNormRows;
  return {begin, min(m, begin + kBatchNormRows)};
}

// partials (blocks, 2, C): of a block's rows, the mean less the first row of x, and the sum of squares about the mean.
template <class S>
__global__ void __launch_bounds__(kSlices* kWarp) moments(float* partials, const S* x, int64_t m, int64_t c) {
  auto& shared = shared_memory<SliceSums>();
  const int64_t column = int64_t(blockIdx.y) * kWarp + threadIdx.x;
  const auto [begin, end] = rows_of_block(m);
  const bool live = column < c;
  const float pivot = live ? float(x[column]) : 0.0f, n = float(end - begin);
  float2 sums = {0.0f, 0.0f};
  if (live)
    for (int64_t row = begin + threadIdx.y; row < end; row += kSlices) sums.x += float(x[row * c + column]) - pivot;
  const float mean = sum_slices(sums, shared).x / n;
  sums = {0.0f,
          0.0f};  // of the squares about the mean, and what rounding left of the sum about it, which corrects both
  if (live)
    for (int64_t row = begin + threadIdx.y; row < end; row += kSlices) {
      const float d = float(x[row * c + column]) - pivot - mean;
      sums.x += d * d, sums.y += d;
    }
  sums = sum_slices(sums, shared);
  if (!live || threadIdx.y != 0) return;
  float* to = partials + int64_t(blockIdx.x) * 2 * c + column;
  to[0] = mean + sums.y / n;
  to[c] = sums.x - sums.y * sums.y / n;
}

// Of some rows: their number, mean, and sum of squares about it.
struct Moments {
  double n, mean, squares;
};

// Chan, Golub and LeVeque, 1979.
__device__ __forceinline__ Moments merged(const Moments& a, const Moments& b) {
  if (b.n == 0.0) return a;
  const double n = a.n + b.n, delta = b.mean - a.mean;
  return {n, a.mean + delta * (b.n / n), a.squares + b.squares + delta * delta * (a.n * b.n / n)};
}

struct MergeShared {
  Moments part[kMergeSlices][kWarp];
};

template <class S>
struct Merge {
  float *mean, *rstd;
  double *mean_seen, *variance_seen;  // (C), nullptr: none
  const float* partials;
  const S* x;
  int64_t m, c;
  float eps;
  bool accumulate_seen;
};

template <class S>
__global__ void __launch_bounds__(kMergeSlices* kWarp) merge_moments(Merge<S> a) {
  auto& shared = shared_memory<MergeShared>();
  const int lane = threadIdx.x, slice = threadIdx.y;
  const int64_t column = int64_t(blockIdx.x) * kWarp + lane, num_blocks = ceil_div(a.m, kBatchNormRows);
  Moments mine = {};
  if (column < a.c)
    for (int64_t block = slice; block < num_blocks; block += kMergeSlices) {
      const float* from = a.partials + block * 2 * a.c + column;
      const int64_t rows = min(kBatchNormRows, a.m - block * kBatchNormRows);
      mine = merged(mine, {double(rows), double(from[0]), double(from[a.c])});
    }
  shared.part[slice][lane] = mine;
  for (int half = kMergeSlices / 2; half > 0; half /= 2) {
    __syncthreads();
    if (slice < half) shared.part[slice][lane] = merged(shared.part[slice][lane], shared.part[slice + half][lane]);
  }
  if (slice != 0 || column >= a.c) return;
  const Moments all = shared.part[0][lane];
  const double mean = all.mean + double(float(a.x[column])), variance = all.squares / double(a.m - 1);
  a.mean[column] = float(mean);
  a.rstd[column] = float(1.0 / sqrt(all.squares / double(a.m) + double(a.eps)));
  if (a.mean_seen == nullptr) return;
  double *mean_sum = a.mean_seen + column, *variance_sum = a.variance_seen + column;
  *mean_sum = a.accumulate_seen ? *mean_sum + mean : mean;
  *variance_sum = a.accumulate_seen ? *variance_sum + variance : variance;
}

template <class S>
struct Normalise {
  S* y;
  const S *x, *w, *b;
  const float *mean, *spread;  // spread: rstd, or the variance
  int64_t n, c;                // n: elements
  float eps;
  bool spread_is_variance;
};

template <int W, class S>
__global__ void __launch_bounds__(kThreads) normalise(Normalise<S> a) {
  const int64_t i = (int64_t(blockIdx.x) * kThreads + threadIdx.x) * W;
  if (i >= a.n) return;
  const int64_t column = i % a.c;
  Pack<W> v = load<W>(a.x + i);
  const Pack<W> mean = load<W>(a.mean + column), spread = load<W>(a.spread + column), w = load<W>(a.w + column),
                b = load<W>(a.b + column);
#pragma unroll
  for (int j = 0; j < W; ++j) {
    const float rstd = a.spread_is_variance ? 1.0f / sqrtf(spread.x[j] + a.eps) : spread.x[j];
    v.x[j] = (v.x[j] - mean.x[j]) * rstd * w.x[j] + b.x[j];
  }
  store<W>(a.y + i, v);
}

template <class S>
struct Backward {
  S* dx;
  const S *dy, *x, *w;
  const float *mean, *rstd;
  float* partials;      // (blocks, 2, C): of dy xhat, of dy
  const float* totals;  // (2, C): their sum over blocks
  int64_t m, c;
};

template <class S>
__global__ void __launch_bounds__(kSlices* kWarp) gradient_sums(Backward<S> a) {
  auto& shared = shared_memory<SliceSums>();
  const int64_t column = int64_t(blockIdx.y) * kWarp + threadIdx.x;
  const auto [begin, end] = rows_of_block(a.m);
  float2 sums = {0.0f, 0.0f};
  if (column < a.c) {
    const float mean = a.mean[column], rstd = a.rstd[column];
    for (int64_t row = begin + threadIdx.y; row < end; row += kSlices) {
      const float dy = float(a.dy[row * a.c + column]);
      sums.x += dy * ((float(a.x[row * a.c + column]) - mean) * rstd), sums.y += dy;
    }
  }
  sums = sum_slices(sums, shared);
  if (column >= a.c || threadIdx.y != 0) return;
  float* to = a.partials + int64_t(blockIdx.x) * 2 * a.c + column;
  to[0] = sums.x, to[a.c] = sums.y;
}

struct TotalShared {
  double sum[kMergeSlices][kWarp];
};

// totals (2, C) = the sum of partials (blocks, 2, C) over blocks; dw, db (=|+=) it.
template <class G>
__global__ void __launch_bounds__(kMergeSlices* kWarp)
    sum_blocks(G* dw, G* db, float* totals, const float* partials, int64_t num_blocks, int64_t c, bool accumulate) {
  auto& shared = shared_memory<TotalShared>();
  const int lane = threadIdx.x, slice = threadIdx.y;
  const int64_t column = int64_t(blockIdx.x) * kWarp + lane;  // of 2 C
  double sum = 0.0;
  if (column < 2 * c)
    for (int64_t block = slice; block < num_blocks; block += kMergeSlices)
      sum += double(partials[block * 2 * c + column]);
  shared.sum[slice][lane] = sum;
  for (int half = kMergeSlices / 2; half > 0; half /= 2) {
    __syncthreads();
    if (slice < half) shared.sum[slice][lane] += shared.sum[slice + half][lane];
  }
  if (slice != 0 || column >= 2 * c) return;
  const float total = float(shared.sum[0][lane]);
  totals[column] = total;
  G* out = column < c ? dw + column : db + (column - c);
  *out = G(accumulate ? float(*out) + total : total);
}

// dx = w rstd (dy - mean of dy - xhat mean of dy xhat). dx may be dy.
template <int W, class S>
__global__ void __launch_bounds__(kThreads) input_gradient(Backward<S> a) {
  const int64_t i = (int64_t(blockIdx.x) * kThreads + threadIdx.x) * W;
  if (i >= a.m * a.c) return;
  const int64_t column = i % a.c;
  Pack<W> d = load<W>(a.dy + i);
  const Pack<W> x = load<W>(a.x + i), mean = load<W>(a.mean + column), rstd = load<W>(a.rstd + column),
                w = load<W>(a.w + column), dw = load<W>(a.totals + column), db = load<W>(a.totals + a.c + column);
#pragma unroll
  for (int j = 0; j < W; ++j) {
    const float xhat = (x.x[j] - mean.x[j]) * rstd.x[j];
    d.x[j] = w.x[j] * rstd.x[j] * (d.x[j] - db.x[j] / float(a.m) - xhat * (dw.x[j] / float(a.m)));
  }
  store<W>(a.dx + i, d);
}

dim3 tiles(int64_t m, int64_t c) { return dim3(unsigned(ceil_div(m, kBatchNormRows)), unsigned(ceil_div(c, kWarp))); }

template <class S>
void run_normalise(Stream& stream, const char* name, const Normalise<S>& a) {
  with_width<S>(a.c, {a.y, a.x, a.w, a.b, a.mean, a.spread}, [&](auto w) {
    launch(stream, {name, blocks(ceil_div(a.n, kThreads * w)), kThreads}, normalise<w, S>, a);
  });
}

template <class S>
void run_forward(Stream& stream, const BatchNormForward& a) {
  const int64_t m = a.x.dim(0), c = a.x.dim(1);
  const auto partials = static_cast<float*>(a.workspace.data);
  launch(stream, {"batchnorm_moments", tiles(m, c), dim3(kWarp, kSlices), sizeof(SliceSums)}, moments<S>, partials,
         a.x.as<S>(), m, c);
  const Merge<S> merge = {.mean = a.mean.as<float>(),
                          .rstd = a.rstd.as<float>(),
                          .mean_seen = a.mean_seen ? a.mean_seen.as<double>() : nullptr,
                          .variance_seen = a.variance_seen ? a.variance_seen.as<double>() : nullptr,
                          .partials = partials,
                          .x = a.x.as<S>(),
                          .m = m,
                          .c = c,
                          .eps = a.eps,
                          .accumulate_seen = a.accumulate_seen};
  launch(stream,
         {"batchnorm_merge_moments", blocks(ceil_div(c, kWarp)), dim3(kWarp, kMergeSlices), sizeof(MergeShared)},
         merge_moments<S>, merge);
  run_normalise<S>(stream, "batchnorm_forward",
                   {.y = a.y.as<S>(),
                    .x = a.x.as<S>(),
                    .w = a.w.as<S>(),
                    .b = a.b.as<S>(),
                    .mean = merge.mean,
                    .spread = merge.rstd,
                    .n = m * c,
                    .c = c,
                    .eps = a.eps,
                    .spread_is_variance = false});
}

template <class S, class G>
void run_backward(Stream& stream, const BatchNormBackward& a) {
  const int64_t m = a.x.dim(0), c = a.x.dim(1), num_blocks = ceil_div(m, kBatchNormRows);
  const auto partials = static_cast<float*>(a.workspace.data);
  float* totals = partials + 2 * num_blocks * c;
  const Backward<S> f = {.dx = a.dx.as<S>(),
                         .dy = a.dy.as<S>(),
                         .x = a.x.as<S>(),
                         .w = a.w.as<S>(),
                         .mean = a.mean.as<float>(),
                         .rstd = a.rstd.as<float>(),
                         .partials = partials,
                         .totals = totals,
                         .m = m,
                         .c = c};
  launch(stream, {"batchnorm_gradient_sums", tiles(m, c), dim3(kWarp, kSlices), sizeof(SliceSums)}, gradient_sums<S>,
         f);
  launch(stream,
         {"batchnorm_sum_blocks", blocks(ceil_div(2 * c, kWarp)), dim3(kWarp, kMergeSlices), sizeof(TotalShared)},
         sum_blocks<G>, a.dw.as<G>(), a.db.as<G>(), totals, partials, num_blocks, c, a.accumulate);
  with_width<S>(c, {f.dx, f.dy, f.x, f.w, f.mean, f.rstd, f.totals}, [&](auto w) {
    launch(stream, {"batchnorm_backward", blocks(ceil_div(m * c, kThreads * w)), kThreads}, input_gradient<w, S>, f);
  });
}

}  // namespace

template <>
void run(Stream& stream, const BatchNormForward& a) {
  with_storage(a.x.dtype, [&](auto s) { run_forward<decltype(s)>(stream, a); });
}

template <>
void run(Stream& stream, const BatchNormEvaluate& a) {
  with_storage(a.x.dtype, [&](auto s) {
    using S = decltype(s);
    run_normalise<S>(stream, "batchnorm_evaluate",
                     {.y = a.y.as<S>(),
                      .x = a.x.as<S>(),
                      .w = a.w.as<S>(),
                      .b = a.b.as<S>(),
                      .mean = a.mean.as<float>(),
                      .spread = a.variance.as<float>(),
                      .n = a.x.numel(),
                      .c = a.x.dim(1),
                      .eps = a.eps,
                      .spread_is_variance = true});
  });
}

template <>
void run(Stream& stream, const BatchNormBackward& a) {
  with_storage(a.x.dtype, [&](auto s) {
    using S = decltype(s);
    with_grad<S>(a.dw.dtype, [&](auto g) { run_backward<S, decltype(g)>(stream, a); });
  });
}

}  // namespace ddp::cuda
