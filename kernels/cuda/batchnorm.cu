// Batch norm over the rows of (M,C): sums of sheets, then over sheets, then a pass over the elements.
#include "kernels/cuda/batchnorm.cuh"
//
#include "kernels/cuda/run.h"

namespace ddp::cuda {
namespace {

// Rows y, y + step, y + 2 step, ... of `rows`.
__device__ __forceinline__ float interleaved(int64_t rows, int y, int step) {
  return y < rows ? float((rows - y + step - 1) / step) : 0.0f;
}

// partials (sheets, 2, C): of a sheet's rows, the mean less the first row of x, and the sum of squares about the mean.
// Each slice by Welford's recurrence (1962), which reads x once; slices merged by the formula of Chan, Golub and
// LeVeque (1979).
template <int W, class S>
__global__ void __launch_bounds__(kSheetThreads) moments(float* partials, const S* x, Sheets s) {
  const int64_t column = column_of_thread<W>();
  Sums<W> all = {};  // means, squares
  if (column < s.c) {
    const Pack<W> pivot = load<W>(x + column);
    float n = 0.0f;
    for_rows(s, [&](int64_t row) {
      const Pack<W> v = load<W>(x + row * s.c + column);
      const float share = 1.0f / ++n;
#pragma unroll
      for (int j = 0; j < W; ++j) {
        const float distance = v.x[j] - pivot.x[j], d = distance - all.first.x[j];
        all.first.x[j] += d * share;
        all.second.x[j] += d * (distance - all.first.x[j]);
      }
    });
  }
  const int64_t rows = min(s.rows, s.m - blockIdx.x * s.rows);
  all = merge_slices<kSheetThreads>(all, [&](Sums<W> to, const Sums<W>& more, int half) {
    const float n = interleaved(rows, threadIdx.y, half), share = interleaved(rows, threadIdx.y + half, 2 * half) / n;
    if (share > 0.0f)
#pragma unroll
      for (int j = 0; j < W; ++j) {
        const float delta = more.first.x[j] - to.first.x[j];
        to.first.x[j] += delta * share;
        to.second.x[j] += more.second.x[j] + delta * delta * (share * (1.0f - share) * n);
      }
    return to;
  });
  if (column >= s.c || threadIdx.y != 0) return;
  float* to = partials + int64_t(blockIdx.x) * 2 * s.c + column;
  store<W>(to, all.first);
  store<W>(to + s.c, all.second);
}

// Of some sheets: sums over their rows of the sheet's mean, of its square, and of squares about it.
struct MomentSums {
  double mean, mean_squares, squares;
};

template <class S>
struct Merge {
  float *mean, *rstd;
  double *mean_seen, *variance_seen;  // (C), nullptr: none
  const float* partials;
  const S* x;
  Sheets sheets;
  float eps;
  bool accumulate_seen;
};

template <class S>
__global__ void __launch_bounds__(kMergeThreads) merge_moments(Merge<S> a, int64_t num_sheets) {
  const int64_t column = int64_t(blockIdx.x) * kMergeWidth + threadIdx.x, m = a.sheets.m, c = a.sheets.c;
  const double full = double(a.sheets.rows), last = double(m - (num_sheets - 1) * a.sheets.rows);
  MomentSums sums = {};
  if (column < c)
    for (int64_t sheet = threadIdx.y; sheet < num_sheets; sheet += kMergeSlices) {
      const float* from = a.partials + sheet * 2 * c + column;
      const double mean = double(from[0]), sum = mean * (sheet == num_sheets - 1 ? last : full);
      sums.mean += sum, sums.mean_squares += sum * mean, sums.squares += double(from[c]);
    }
  sums = merge_slices<kMergeThreads>(sums, [](MomentSums to, const MomentSums& more, int) {
    to.mean += more.mean, to.mean_squares += more.mean_squares, to.squares += more.squares;
    return to;
  });
  if (threadIdx.y != 0 || column >= c) return;
  // Both are of distances from the first row, so the difference costs f64 nothing.
  const double distance = sums.mean / double(m),
               squares = sums.squares + max(0.0, sums.mean_squares - distance * sums.mean),
               mean = distance + double(float(a.x[column])), variance = squares / double(m - 1);
  a.mean[column] = float(mean);
  a.rstd[column] = float(1.0 / sqrt(squares / double(m) + double(a.eps)));
  if (a.mean_seen == nullptr) return;
  double *mean_sum = a.mean_seen + column, *variance_sum = a.variance_seen + column;
  *mean_sum = a.accumulate_seen ? *mean_sum + mean : mean;
  *variance_sum = a.accumulate_seen ? *variance_sum + variance : variance;
}

template <class S>
struct Apply {
  S* y;
  const S *x, *residual;  // residual: nullptr without
  Affine<S> affine;
  Sheets sheets;
  bool relu;
};

// y may be x or residual.
template <int W, class S>
__global__ void __launch_bounds__(kSheetThreads) apply(Apply<S> a) {
  const int64_t column = column_of_thread<W>(), c = a.sheets.c;
  if (column >= c) return;
  const Columns<W> columns(a.affine, column);
  for_rows(a.sheets, [&](int64_t row) {
    const int64_t at = row * c + column;
    Pack<W> v = load<W>(a.x + at);
    const Pack<W> residual = a.residual == nullptr ? Pack<W>{} : load<W>(a.residual + at);
#pragma unroll
    for (int j = 0; j < W; ++j) {
      v.x[j] = columns(j, v.x[j]);
      if (a.residual != nullptr) v.x[j] += residual.x[j];
      if (a.relu) v.x[j] = relu(v.x[j]);
    }
    store<W>(a.y + at, v);
  });
}

// dy, before or behind the ReLU.
template <class S, bool kBehindRelu>
struct OutputGradient {
  static constexpr bool kMaskedByX = kBehindRelu;
  const S* dy;
  int64_t c;
  template <int W>
  __device__ __forceinline__ Pack<W> load(int64_t row, int64_t column) const {
    return cuda::load<W>(dy + row * c + column);
  }
};

// dy where y, the ReLU's output, is above 0.
template <class S>
struct GradientWhereY {
  static constexpr bool kMaskedByX = false;
  const S *dy, *y;
  int64_t c;
  template <int W>
  __device__ __forceinline__ Pack<W> load(int64_t row, int64_t column) const {
    Pack<W> d = cuda::load<W>(dy + row * c + column);
    const Pack<W> output = cuda::load<W>(y + row * c + column);
#pragma unroll
    for (int j = 0; j < W; ++j) d.x[j] = where_above_zero<S>(output.x[j], d.x[j]);
    return d;
  }
};

template <class S>
void run_statistics(Stream& stream, const BatchNormStatistics& a) {
  const Sheets cut = sheets(a.x.dim(0), a.x.dim(1));
  const auto partials = static_cast<float*>(a.workspace.data);
  with_width<S>(cut.c, {a.x.data, partials}, [&](auto w) {
    launch(stream, sheet_launch<w>("batchnorm_moments", cut, sizeof(SumsShared<w>)), moments<w, S>, partials,
           a.x.as<S>(), cut);
  });
  const Merge<S> merge = {.mean = a.mean.as<float>(),
                          .rstd = a.rstd.as<float>(),
                          .mean_seen = a.mean_seen ? a.mean_seen.as<double>() : nullptr,
                          .variance_seen = a.variance_seen ? a.variance_seen.as<double>() : nullptr,
                          .partials = partials,
                          .x = a.x.as<S>(),
                          .sheets = cut,
                          .eps = a.eps,
                          .accumulate_seen = a.accumulate_seen};
  launch(stream, merge_launch<MomentSums>("batchnorm_merge_moments", cut.c), merge_moments<S>, merge, cut.count());
}

template <class S>
void run_apply(Stream& stream, const BatchNormApply& a) {
  const Apply<S> f = {.y = a.y.as<S>(),
                      .x = a.x.as<S>(),
                      .residual = a.residual ? a.residual.as<S>() : nullptr,
                      .affine = Affine<S>(a.affine),
                      .sheets = sheets(a.x.dim(0), a.x.dim(1)),
                      .relu = a.relu};
  with_width<S>(f.sheets.c, {f.y, f.x, f.residual, f.affine.mean, f.affine.spread, f.affine.w, f.affine.b},
                [&](auto w) { launch(stream, sheet_launch<w>("batchnorm_apply", f.sheets), apply<w, S>, f); });
}

template <class S>
void run_backward(Stream& stream, const BatchNormBackward& a) {
  const int64_t c = a.x.dim(1);
  const S* dy = a.dy.as<S>();
  S* dresidual = a.dresidual ? a.dresidual.as<S>() : nullptr;
  if (!a.relu)
    run_gradient<S>(stream, a, OutputGradient<S, false>{dy, c}, nullptr, dresidual);
  else if (a.y)
    run_gradient<S>(stream, a, GradientWhereY<S>{dy, a.y.as<S>(), c}, a.y.data, dresidual);
  else
    run_gradient<S>(stream, a, OutputGradient<S, true>{dy, c}, nullptr);
}

}  // namespace

template <>
void run(Stream& stream, const BatchNormStatistics& a) {
  with_storage(a.x.dtype, [&](auto s) { run_statistics<decltype(s)>(stream, a); });
}

template <>
void run(Stream& stream, const BatchNormApply& a) {
  with_storage(a.x.dtype, [&](auto s) { run_apply<decltype(s)>(stream, a); });
}

template <>
void run(Stream& stream, const BatchNormBackward& a) {
  with_storage(a.x.dtype, [&](auto s) { run_backward<decltype(s)>(stream, a); });
}

}  // namespace ddp::cuda
