// Batch norm over the rows of (M,C).
#include "kernels/cpu/batchnorm.h"

#include <cmath>

#include "kernels/cpu/run.h"
#include "runtime/device/cpu_device.h"

namespace ddp::cpu {
namespace {

// partials (blocks, 2, C): of a tile's rows, the mean less the first row of x, and the sum of squares about the mean.
// The tile stays in the cache over the two passes.
template <class S>
void tile_moments(const Tile& tile, float* partials, const S* x, int64_t c) {
  const float n = float(tile.rows());
  v16 pivot[kVecs], mean[kVecs] = {}, squares[kVecs] = {}, rest_sum[kVecs] = {};
  tile.for_columns([&](int64_t i, int64_t column, int64_t rest) { pivot[i] = load(x + column, rest); });
  for (int64_t row = tile.begin; row < tile.end; ++row)
    tile.for_columns([&](int64_t i, int64_t column, int64_t rest) {
      mean[i] += load_and_ask(x + row * c + column, c, rest) - pivot[i];
    });
  for (v16& sum : mean) sum /= n;
  for (int64_t row = tile.begin; row < tile.end; ++row)
    tile.for_columns([&](int64_t i, int64_t column, int64_t rest) {
      const v16 d = load(x + row * c + column, rest) - pivot[i] - mean[i];
      squares[i] += d * d, rest_sum[i] += d;
    });
  float* to = partials + tile.block * 2 * c;
  tile.for_columns([&](int64_t i, int64_t column, int64_t rest) {
    // What rounding left of the sum about the mean corrects both.
    store(to + column, mean[i] + rest_sum[i] / n, rest);
    store(to + c + column, squares[i] - rest_sum[i] * rest_sum[i] / n, rest);
  });
}

// The moments of all rows from those of blocks, by the formula of Chan, Golub and LeVeque (1979); writes mean, rstd and
// what was seen of `width` columns from `column` on.
template <class S>
void merge_moments(const BatchNormStatistics& a, int64_t column, int64_t width) {
  const int64_t m = a.x.dim(0), c = a.x.dim(1);
  const float* partials = static_cast<const float*>(a.workspace.data) + column;
  double mean[kColumns] = {}, squares[kColumns] = {};
  for (int64_t block = 0, seen = 0; seen < m; ++block, seen += kBatchNormRows) {
    const float *more_mean = partials + block * 2 * c, *more_squares = more_mean + c;
    const double rows = double(std::min(kBatchNormRows, m - seen)), all = double(seen) + rows;
    for (int64_t i = 0; i < width; ++i) {
      const double delta = double(more_mean[i]) - mean[i];
      mean[i] += delta * (rows / all);
      squares[i] += double(more_squares[i]) + delta * delta * (double(seen) * rows / all);
    }
  }
  const S* pivot = a.x.as<S>() + column;
  float *out_mean = a.mean.as<float>() + column, *rstd = a.rstd.as<float>() + column;
  for (int64_t i = 0; i < width; ++i) {
    mean[i] += double(to_f32(pivot[i]));
    out_mean[i] = float(mean[i]);
    rstd[i] = float(1.0 / std::sqrt(squares[i] / double(m) + double(a.eps)));
  }
  if (!a.mean_seen) return;
  double *mean_sum = a.mean_seen.as<double>() + column, *variance_sum = a.variance_seen.as<double>() + column;
  for (int64_t i = 0; i < width; ++i) {
    const double variance = squares[i] / double(m - 1);
    mean_sum[i] = a.accumulate_seen ? mean_sum[i] + mean[i] : mean[i];
    variance_sum[i] = a.accumulate_seen ? variance_sum[i] + variance : variance;
  }
}

template <class S>
void run(ThreadPool& pool, const BatchNormStatistics& a) {
  const int64_t m = a.x.dim(0), c = a.x.dim(1);
  const auto partials = static_cast<float*>(a.workspace.data);
  for_tiles(pool, m, c, [&](const Tile& tile) { tile_moments(tile, partials, a.x.as<S>(), c); });
  for_strips(pool, c, [&](int64_t column, int64_t width) { merge_moments<S>(a, column, width); });
}

template <class S>
void run(ThreadPool& pool, const BatchNormApply& a) {
  const int64_t m = a.x.dim(0), c = a.x.dim(1);
  const S *x = a.x.as<S>(), *residual = a.residual ? a.residual.as<S>() : nullptr;
  S* y = a.y.as<S>();
  for_tiles(pool, m, c, [&](const Tile& tile) {
    const Affine<S> affine(a.affine, tile.column, tile.width);
    for (int64_t row = tile.begin; row < tile.end; ++row)
      tile.for_columns([&](int64_t i, int64_t column, int64_t rest) {
        const int64_t at = row * c + column;
        v16 v = affine(i, load_and_ask(x + at, c, rest));
        if (residual != nullptr) v += load_and_ask(residual + at, c, rest);
        store(y + at, a.relu ? relu(v) : v, rest);
      });
  });
}

// dy, before or behind the ReLU.
template <class S, bool kBehindRelu>
struct OutputGradient {
  static constexpr bool kMaskedByX = kBehindRelu;
  const S* dy;
  int64_t c;
  DDP_INLINE auto row(int64_t row) const {
    return [from = dy + row * c, c = c](int64_t column, int64_t rest) { return load_and_ask(from + column, c, rest); };
  }
};

// dy where y, the ReLU's output, is above 0.
template <class S>
struct GradientWhereY {
  static constexpr bool kMaskedByX = false;
  const S *dy, *y;
  int64_t c;
  DDP_INLINE auto row(int64_t row) const {
    return [from = dy + row * c, out = y + row * c, c = c](int64_t column, int64_t rest) {
      return where_above_zero<S>(load_and_ask(out + column, c, rest), load_and_ask(from + column, c, rest));
    };
  }
};

template <class S, class G>
void run(ThreadPool& pool, const BatchNormBackward& a) {
  const int64_t c = a.x.dim(1);
  const S* dy = a.dy.as<S>();
  S* dresidual = a.dresidual ? a.dresidual.as<S>() : nullptr;
  if (!a.relu)
    run_gradient<S, G>(pool, a, OutputGradient<S, false>{dy, c}, dresidual);
  else if (a.y)
    run_gradient<S, G>(pool, a, GradientWhereY<S>{dy, a.y.as<S>(), c}, dresidual);
  else
    run_gradient<S, G>(pool, a, OutputGradient<S, true>{dy, c});
}

}  // namespace

template <>
void run(Stream& stream, const BatchNormStatistics& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) { with_storage(a.x.dtype, [&](auto s) { run<decltype(s)>(pool, a); }); });
}

template <>
void run(Stream& stream, const BatchNormApply& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) { with_storage(a.x.dtype, [&](auto s) { run<decltype(s)>(pool, a); }); });
}

template <>
void run(Stream& stream, const BatchNormBackward& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) {
    with_storage(a.x.dtype, [&](auto s) {
      with_grad<decltype(s)>(a.dw.dtype, [&](auto g) { run<decltype(s), decltype(g)>(pool, a); });
    });
  });
}

}  // namespace ddp::cpu
