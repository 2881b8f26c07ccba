// Batch norm over the rows of (M,C). Work is cut into tiles of kBatchNormRows rows and 64 columns, 32 KB of f32, which
// stay in the cache over two passes; a tile's sums go to the workspace and are merged in the order of the rows.
#include <algorithm>
#include <cmath>

#include "kernels/cpu/run.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/storage.h"
#include "kernels/cpu/vec.h"
#include "kernels/ops/norm.h"
#include "runtime/device/cpu_device.h"

namespace ddp::cpu {
namespace {

constexpr int64_t kColumns = 64, kVecs = kColumns / kVecWidth;

struct Tile {
  int64_t block, begin, end;  // rows [begin, end)
  int64_t column, width;

  int64_t rows() const { return end - begin; }
  // f(i, at, rest) for vector i of each row: `at` its first element's place, `rest` the tile's columns from there on.
  template <class F>
  DDP_INLINE void for_vectors(int64_t c, F f) const {
    for (int64_t row = begin; row < end; ++row)
      for (int64_t i = 0; i * kVecWidth < width; ++i) f(i, row * c + column + i * kVecWidth, width - i * kVecWidth);
  }
  // f(i, column, rest) for each vector of columns.
  template <class F>
  DDP_INLINE void for_columns(F f) const {
    for (int64_t i = 0; i * kVecWidth < width; ++i) f(i, column + i * kVecWidth, width - i * kVecWidth);
  }
};

template <class F>
void for_tiles(ThreadPool& pool, int64_t m, int64_t c, F f) {
  const int64_t strips = ceil_div(c, kColumns);
  pool.parallel_for(ceil_div(m, kBatchNormRows) * strips, [&](int64_t i) {
    const int64_t block = i / strips, begin = block * kBatchNormRows, column = i % strips * kColumns;
    f(Tile{block, begin, std::min(m, begin + kBatchNormRows), column, std::min(kColumns, c - column)});
  });
}

// f(column, width) for strips of columns.
template <class F>
void for_strips(ThreadPool& pool, int64_t c, F f) {
  pool.parallel_for(ceil_div(c, kColumns), [&](int64_t i) { f(i * kColumns, std::min(kColumns, c - i * kColumns)); });
}

// partials (blocks, 2, C): of a tile's rows, the mean less the first row of x, and the sum of squares about the mean.
template <class S>
void tile_moments(const Tile& tile, float* partials, const S* x, int64_t c) {
  const float n = float(tile.rows());
  v16 pivot[kVecs], mean[kVecs] = {}, squares[kVecs] = {}, rest_sum[kVecs] = {};
  tile.for_columns([&](int64_t i, int64_t at, int64_t rest) { pivot[i] = load(x + at, rest); });
  tile.for_vectors(c, [&](int64_t i, int64_t at, int64_t rest) { mean[i] += load(x + at, rest) - pivot[i]; });
  for (v16& sum : mean) sum /= n;
  tile.for_vectors(c, [&](int64_t i, int64_t at, int64_t rest) {
    const v16 d = load(x + at, rest) - pivot[i] - mean[i];
    squares[i] += d * d, rest_sum[i] += d;
  });
  float* to = partials + tile.block * 2 * c;
  tile.for_columns([&](int64_t i, int64_t at, int64_t rest) {
    // What rounding left of the sum about the mean corrects both.
    store(to + at, mean[i] + rest_sum[i] / n, rest);
    store(to + c + at, squares[i] - rest_sum[i] * rest_sum[i] / n, rest);
  });
}

// The moments of all rows from those of blocks; writes mean, rstd and what was seen of `width` columns from `column`
// on.
template <class S>
void merge_moments(const BatchNormForward& a, int64_t column, int64_t width) {
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

// y = (x - mean) rstd w + b; rstd(at, rest) of the columns from `at` on.
template <class S, class Args, class F>
void normalise(ThreadPool& pool, const Args& a, F rstd) {
  const int64_t m = a.x.dim(0), c = a.x.dim(1);
  const S *x = a.x.template as<S>(), *w = a.w.template as<S>(), *b = a.b.template as<S>();
  const float* mean = a.mean.template as<float>();
  S* y = a.y.template as<S>();
  for_tiles(pool, m, c, [&](const Tile& tile) {
    v16 centre[kVecs], factor[kVecs], weight[kVecs], bias[kVecs];
    tile.for_columns([&](int64_t i, int64_t at, int64_t rest) {
      centre[i] = load(mean + at, rest), factor[i] = rstd(at, rest);
      weight[i] = load(w + at, rest), bias[i] = load(b + at, rest);
    });
    tile.for_vectors(c, [&](int64_t i, int64_t at, int64_t rest) {
      store(y + at, (load(x + at, rest) - centre[i]) * factor[i] * weight[i] + bias[i], rest);
    });
  });
}

template <class S>
void run(ThreadPool& pool, const BatchNormForward& a) {
  const int64_t m = a.x.dim(0), c = a.x.dim(1);
  const auto partials = static_cast<float*>(a.workspace.data);
  for_tiles(pool, m, c, [&](const Tile& tile) { tile_moments(tile, partials, a.x.as<S>(), c); });
  for_strips(pool, c, [&](int64_t column, int64_t width) { merge_moments<S>(a, column, width); });
  const float* rstd = a.rstd.as<float>();
  normalise<S>(pool, a, [=](int64_t at, int64_t rest) { return load(rstd + at, rest); });
}

template <class S>
void run(ThreadPool& pool, const BatchNormEvaluate& a) {
  const float *variance = a.variance.as<float>(), eps = a.eps;
  normalise<S>(pool, a, [=](int64_t at, int64_t rest) { return 1.0f / sqrtv(load(variance + at, rest) + eps); });
}

// xhat of the columns of a tile.
template <class S>
struct Normed {
  const S* x;
  v16 mean[kVecs], rstd[kVecs];

  Normed(const BatchNormBackward& a, const Tile& tile) : x(a.x.as<S>()) {
    tile.for_columns([&](int64_t i, int64_t at, int64_t rest) {
      mean[i] = load(a.mean.as<float>() + at, rest), rstd[i] = load(a.rstd.as<float>() + at, rest);
    });
  }
  DDP_INLINE v16 at(int64_t i, int64_t place, int64_t rest) const {
    return (load(x + place, rest) - mean[i]) * rstd[i];
  }
};

// The sum of partials (blocks, 2, C) over blocks, in double: as f32 into totals (2, C), and dw, db (=|+=) it.
template <class G>
void sum_blocks(const BatchNormBackward& a, float* partials, int64_t num_blocks, int64_t column, int64_t width) {
  const int64_t c = a.x.dim(1);
  G* const outs[] = {a.dw.as<G>(), a.db.as<G>()};
  for (int64_t part = 0; part < 2; ++part) {
    double total[kColumns] = {};
    for (int64_t block = 0; block < num_blocks; ++block)
      for (int64_t i = 0; i < width; ++i) total[i] += double(partials[(2 * block + part) * c + column + i]);
    float* kept = partials + (2 * num_blocks + part) * c + column;
    for (int64_t i = 0; i < width; ++i) kept[i] = float(total[i]);
    G* out = outs[part] + column;
    for (int64_t i = 0; i < width; i += kVecWidth) {
      const v16 sum = load(kept + i, width - i);
      store(out + i, a.accumulate ? load(out + i, width - i) + sum : sum, width - i);
    }
  }
}

template <class S, class G>
void run(ThreadPool& pool, const BatchNormBackward& a) {
  const int64_t m = a.x.dim(0), c = a.x.dim(1), num_blocks = ceil_div(m, kBatchNormRows);
  const S *dy = a.dy.as<S>(), *w = a.w.as<S>();
  S* dx = a.dx.as<S>();
  const auto partials = static_cast<float*>(a.workspace.data);  // (blocks, 2, C): of dy xhat, of dy
  for_tiles(pool, m, c, [&](const Tile& tile) {
    const Normed<S> xhat(a, tile);
    v16 dw[kVecs] = {}, db[kVecs] = {};
    tile.for_vectors(c, [&](int64_t i, int64_t at, int64_t rest) {
      const v16 d = load(dy + at, rest);
      dw[i] += d * xhat.at(i, at, rest), db[i] += d;
    });
    float* to = partials + tile.block * 2 * c;
    tile.for_columns([&](int64_t i, int64_t at, int64_t rest) {
      store(to + at, dw[i], rest);
      store(to + c + at, db[i], rest);
    });
  });
  for_strips(pool, c, [&](int64_t column, int64_t width) { sum_blocks<G>(a, partials, num_blocks, column, width); });
  const float* totals = partials + 2 * num_blocks * c;
  for_tiles(pool, m, c, [&](const Tile& tile) {
    const Normed<S> xhat(a, tile);
    v16 slope[kVecs], mean_dy[kVecs], mean_dy_xhat[kVecs];
    tile.for_columns([&](int64_t i, int64_t at, int64_t rest) {
      slope[i] = load(w + at, rest) * xhat.rstd[i];
      mean_dy_xhat[i] = load(totals + at, rest) / float(m), mean_dy[i] = load(totals + c + at, rest) / float(m);
    });
    tile.for_vectors(c, [&](int64_t i, int64_t at, int64_t rest) {
      const v16 d = load(dy + at, rest) - mean_dy[i] - xhat.at(i, at, rest) * mean_dy_xhat[i];
      store(dx + at, slope[i] * d, rest);
    });
  });
}

}  // namespace

template <>
void run(Stream& stream, const BatchNormForward& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) { with_storage(a.x.dtype, [&](auto s) { run<decltype(s)>(pool, a); }); });
}

template <>
void run(Stream& stream, const BatchNormEvaluate& a) {
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
