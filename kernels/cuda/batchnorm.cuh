// What the passes of batch norm over (M,C) share, and its gradient. A thread owns W neighbouring columns, 16 bytes
// where it can; a block is a sheet: threads side by side over up to 32 such packs, and slices (threadIdx.y) that take
// its rows in turns, so that neighbouring threads read neighbouring memory whatever C is.
#pragma once

#include "kernels/cuda/pack.cuh"
#include "kernels/ops/norm.h"

namespace ddp::cuda {

inline constexpr int kSheetThreads = 256, kSheetWidth = 32;
// Blocks of rows that a pass is cut into at most: enough for every GPU, and few enough that summing over them costs
// little beside the pass (f64 is 32 times slower than f32 where there are few units of it).
inline constexpr int64_t kMaxSheets = 1024;

struct Sheets {
  int64_t m, c, rows;  // rows: of a sheet, kBatchNormRows times a power of two
  int64_t count() const { return ceil_div(m, rows); }
};

inline Sheets sheets(int64_t m, int64_t c) {
  Sheets out{m, c, kBatchNormRows};
  while (out.count() > kMaxSheets) out.rows *= 2;
  return out;
}

template <int W>
LaunchShape sheet_launch(const char* name, const Sheets& s, size_t shared_bytes = 0) {
  int width = 1;
  while (width < kSheetWidth && width * W < s.c) width *= 2;
  return {name, dim3(unsigned(s.count()), unsigned(ceil_div(s.c, width * W))), dim3(width, kSheetThreads / width),
          shared_bytes};
}

template <int W>
__device__ __forceinline__ int64_t column_of_thread() {
  return (int64_t(blockIdx.y) * blockDim.x + threadIdx.x) * W;
}

// f(row) for the thread's rows of its sheet.
template <class F>
__device__ __forceinline__ void for_rows(const Sheets& s, F f) {
  const int64_t begin = blockIdx.x * s.rows, end = min(s.m, begin + s.rows);
  for (int64_t row = begin + threadIdx.y; row < end; row += blockDim.y) f(row);
}

// merge(value of slice y, value of slice y + half, half) for half = half of the slices, a quarter, ..., 1; the result
// of all slices in slice 0. Once a kernel. kThreads: of a block.
template <class T, int kThreads>
struct SliceShared {
  T slice[kThreads];
};
template <int kThreads, class T, class Merge>
__device__ __forceinline__ T merge_slices(const T& mine, Merge merge) {
  auto& shared = shared_memory<SliceShared<T, kThreads>>().slice;
  T& kept = shared[threadIdx.y * blockDim.x + threadIdx.x];
  kept = mine;
  for (int half = int(blockDim.y) / 2; half > 0; half /= 2) {
    __syncthreads();
    if (int(threadIdx.y) < half) kept = merge(kept, shared[(threadIdx.y + half) * blockDim.x + threadIdx.x], half);
  }
  return kept;
}

// Two sums of each of a thread's columns.
template <int W>
struct Sums {
  Pack<W> first, second;
};
template <int W>
using SumsShared = SliceShared<Sums<W>, kSheetThreads>;

// BatchNormAffine.
template <class S>
struct Affine {
  const float *mean, *spread;  // spread: rstd, or the variance
  const S *w, *b;
  float eps;
  bool spread_is_variance;

  explicit Affine(const BatchNormAffine& a)
      : mean(a.mean.as<float>()),
        spread((a.rstd ? a.rstd : a.variance).as<float>()),
        w(a.w.as<S>()),
        b(a.b.as<S>()),
        eps(a.eps),
        spread_is_variance(!a.rstd) {}
};

// Of the columns of a thread: (x - mean) scale + bias.
template <int W>
struct Columns {
  Pack<W> mean, scale, bias;

  template <class S>
  __device__ __forceinline__ Columns(const Affine<S>& a, int64_t column)
      : mean(load<W>(a.mean + column)), scale(load<W>(a.spread + column)), bias(load<W>(a.b + column)) {
    const Pack<W> w = load<W>(a.w + column);
#pragma unroll
    for (int j = 0; j < W; ++j)
      scale.x[j] = (a.spread_is_variance ? 1.0f / sqrtf(scale.x[j] + a.eps) : scale.x[j]) * w.x[j];
  }
  // Every pass that asks for it or for its sign gets these bits.
  __device__ __forceinline__ float operator()(int j, float x) const {
    return fmaf(x - mean.x[j], scale.x[j], bias.x[j]);
  }
};

__device__ __forceinline__ float relu(float x) { return x <= 0.0f ? 0.0f : x; }

// gradient where the ReLU's output is above 0 in memory of S, which it is read from or would be rounded to; else 0.
template <class S>
__device__ __forceinline__ float where_above_zero(float output, float gradient) {
  constexpr float kZero = largest_zero(kDTypeOf<S>);
  return output <= kZero ? 0.0f : gradient;
}

// ---- the gradient ----
//
// A source says what reaches the norm, d: source.load<W>(row, column) or, where Source::kMaskedByX, that is what
// reaches the ReLU behind the norm, whose output x tells.

template <class S>
struct Gradient {
  S *dx, *dresidual;  // dresidual: nullptr without
  const S* x;
  Affine<S> affine;
  float* partials;      // (sheets, 2, C): of d xhat, of d
  const float* totals;  // (2, C): their sum over sheets
  Sheets sheets;
};

template <int W, class S, class Source>
__device__ __forceinline__ Pack<W> gradient_of(const Source& source, const Columns<W>& columns, int64_t row,
                                               int64_t column, const Pack<W>& x) {
  Pack<W> d = source.template load<W>(row, column);
  if constexpr (Source::kMaskedByX)
#pragma unroll
    for (int j = 0; j < W; ++j) d.x[j] = where_above_zero<S>(columns(j, x.x[j]), d.x[j]);
  return d;
}

template <int W, class S, class Source>
__global__ void __launch_bounds__(kSheetThreads) gradient_sums(Gradient<S> a, Source source) {
  const int64_t column = column_of_thread<W>(), c = a.sheets.c;
  Sums<W> sums = {};  // of d (x - mean), of d
  if (column < c) {
    const Columns<W> columns(a.affine, column);
    for_rows(a.sheets, [&](int64_t row) {
      const Pack<W> x = load<W>(a.x + row * c + column), d = gradient_of<W, S>(source, columns, row, column, x);
#pragma unroll
      for (int j = 0; j < W; ++j) {
        sums.first.x[j] += d.x[j] * (x.x[j] - columns.mean.x[j]);
        sums.second.x[j] += d.x[j];
      }
    });
  }
  sums = merge_slices<kSheetThreads>(sums, [](Sums<W> to, const Sums<W>& more, int) {
#pragma unroll
    for (int j = 0; j < W; ++j) to.first.x[j] += more.first.x[j], to.second.x[j] += more.second.x[j];
    return to;
  });
  if (column >= c || threadIdx.y != 0) return;
  const Pack<W> rstd = load<W>(a.affine.spread + column);
#pragma unroll
  for (int j = 0; j < W; ++j) sums.first.x[j] *= rstd.x[j];
  float* to = a.partials + int64_t(blockIdx.x) * 2 * c + column;
  store<W>(to, sums.first);
  store<W>(to + c, sums.second);
}

// dx = w rstd (d - mean of d - xhat mean of d xhat). dx may be x, or what d is read from; so may dresidual.
template <int W, class S, class Source>
__global__ void __launch_bounds__(kSheetThreads) input_gradient(Gradient<S> a, Source source) {
  const int64_t column = column_of_thread<W>(), c = a.sheets.c;
  if (column >= c) return;
  const Columns<W> columns(a.affine, column);
  // slope: (mean of d xhat) rstd
  Pack<W> slope = load<W>(a.totals + column), mean = load<W>(a.totals + c + column);
  const Pack<W> rstd = load<W>(a.affine.spread + column);
#pragma unroll
  for (int j = 0; j < W; ++j) {
    slope.x[j] = slope.x[j] / float(a.sheets.m) * rstd.x[j];
    mean.x[j] /= float(a.sheets.m);
  }
  for_rows(a.sheets, [&](int64_t row) {
    const int64_t at = row * c + column;
    Pack<W> x = load<W>(a.x + at);
    const Pack<W> d = gradient_of<W, S>(source, columns, row, column, x);
#pragma unroll
    for (int j = 0; j < W; ++j)
      x.x[j] = columns.scale.x[j] * (d.x[j] - mean.x[j] - (x.x[j] - columns.mean.x[j]) * slope.x[j]);
    store<W>(a.dx + at, x);
    if (a.dresidual != nullptr) store<W>(a.dresidual + at, d);
  });
}

// Of sums over sheets: blocks of kMergeWidth columns, 32 bytes of f32, and kMergeSlices interleaved sums.
inline constexpr int kMergeWidth = 8, kMergeSlices = 64, kMergeThreads = kMergeWidth * kMergeSlices;

template <class T>
LaunchShape merge_launch(const char* name, int64_t columns) {
  return {name, blocks(ceil_div(columns, kMergeWidth)), dim3(kMergeWidth, kMergeSlices),
          sizeof(SliceShared<T, kMergeThreads>)};
}

// totals (2, C) = the sum of partials (sheets, 2, C) over sheets; dw, db (=|+=) it.
template <class G>
__global__ void __launch_bounds__(kMergeThreads)
    sum_sheets(G* dw, G* db, float* totals, const float* partials, int64_t num_sheets, int64_t c, bool accumulate) {
  const int64_t column = int64_t(blockIdx.x) * kMergeWidth + threadIdx.x;  // of 2 C
  double sum = 0.0;
  if (column < 2 * c)
    for (int64_t sheet = threadIdx.y; sheet < num_sheets; sheet += kMergeSlices)
      sum += double(partials[sheet * 2 * c + column]);
  sum = merge_slices<kMergeThreads>(sum, [](double a, double b, int) { return a + b; });
  if (threadIdx.y != 0 || column >= 2 * c) return;
  totals[column] = float(sum);
  G* out = column < c ? dw + column : db + (column - c);
  *out = G(accumulate ? float(*out) + float(sum) : float(sum));
}

// BatchNormBackward or BatchNormPoolBackward, of a source as above; `beside` is what it reads beside dy, or nullptr.
template <class S, class Args, class Source>
void run_gradient(Stream& stream, const Args& a, const Source& source, const void* beside, S* dresidual = nullptr) {
  const int64_t c = a.affine.w.numel();
  const Sheets cut = sheets(a.x.numel() / c, c);
  const auto partials = static_cast<float*>(a.workspace.data);
  float* totals = partials + 2 * cut.count() * c;
  const Gradient<S> f = {.dx = a.dx.template as<S>(),
                         .dresidual = dresidual,
                         .x = a.x.template as<S>(),
                         .affine = Affine<S>(a.affine),
                         .partials = partials,
                         .totals = totals,
                         .sheets = cut};
  with_width<S>(
      c, {f.dx, f.dresidual, f.x, f.affine.mean, f.affine.spread, f.affine.w, f.affine.b, partials, a.dy.data, beside},
      [&](auto w) {
        launch(stream, sheet_launch<w>("batchnorm_gradient_sums", cut, sizeof(SumsShared<w>)),
               gradient_sums<w, S, Source>, f, source);
        with_grad<S>(a.dw.dtype, [&](auto g) {
          using G = decltype(g);
          launch(stream, merge_launch<double>("batchnorm_sum_sheets", 2 * c), sum_sheets<G>, a.dw.template as<G>(),
                 a.db.template as<G>(), totals, partials, cut.count(), c, a.accumulate);
        });
        launch(stream, sheet_launch<w>("batchnorm_backward", cut), input_gradient<w, S, Source>, f, source);
      });
}

}  // namespace ddp::cuda
