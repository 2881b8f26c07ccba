// What the passes of batch norm share, and its gradient. Work is cut into tiles of kBatchNormRows rows and up to 512
// columns, 256 KB of f32, which are read along the rows; what is a column's lies in the first cache. A tile's sums go
// to the workspace and are merged in the order of the rows.
#pragma once

#include <algorithm>

#include "kernels/cpu/scratch.h"
#include "kernels/cpu/storage.h"
#include "kernels/cpu/vec.h"
#include "kernels/ops/norm.h"
#include "runtime/device/thread_pool.h"

namespace ddp::cpu {

inline constexpr int64_t kColumns = 512, kVecs = kColumns / kVecWidth;

// f(i, column, rest) for each vector i of the columns [begin, begin + width): its first column, and those from it on.
template <class F>
DDP_INLINE void for_columns(int64_t begin, int64_t width, F f) {
  for (int64_t i = 0; i * kVecWidth < width; ++i) f(i, begin + i * kVecWidth, width - i * kVecWidth);
}

struct Tile {
  int64_t block, begin, end;  // rows [begin, end)
  int64_t column, width;

  int64_t rows() const { return end - begin; }
  template <class F>
  DDP_INLINE void for_columns(F f) const {
    cpu::for_columns(column, width, f);
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

// Of a row of (M,C), asking for a later row of it meanwhile: a pass over three tensors that leaves this to the hardware
// takes 1.7 times as long (25088 x 256 of f32, EPYC with AVX512).
template <class S>
DDP_INLINE v16 load_and_ask(const S* p, int64_t c, int64_t rest) {
  constexpr int64_t kRowsAhead = 4;
  __builtin_prefetch(
      reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(p) + size_t(kRowsAhead * c) * sizeof(S)));
  return load(p, rest);
}

// BatchNormAffine, of a strip of columns.
template <class S>
struct Affine {
  v16 mean[kVecs], rstd[kVecs], scale[kVecs], bias[kVecs];

  Affine(const BatchNormAffine& a, int64_t begin, int64_t width) {
    for_columns(begin, width, [&](int64_t i, int64_t column, int64_t rest) {
      mean[i] = load(a.mean.as<float>() + column, rest);
      rstd[i] = a.rstd ? load(a.rstd.as<float>() + column, rest)
                       : 1.0f / sqrtv(load(a.variance.as<float>() + column, rest) + a.eps);
      scale[i] = rstd[i] * load(a.w.as<S>() + column, rest);
      bias[i] = load(a.b.as<S>() + column, rest);
    });
  }
  // Of x less the mean. Every pass that asks for it or for its sign gets these bits.
  DDP_INLINE v16 of_centred(int64_t i, v16 centred) const { return centred * scale[i] + bias[i]; }
  DDP_INLINE v16 operator()(int64_t i, v16 x) const { return of_centred(i, x - mean[i]); }
};

DDP_INLINE v16 relu(v16 x) { return x <= 0.0f ? v16{} : x; }

// gradient where the ReLU's output is above 0 in memory of S, which it is read from or would be rounded to; else 0.
template <class S>
DDP_INLINE v16 where_above_zero(v16 output, v16 gradient) {
  constexpr float kZero = largest_zero(kDTypeOf<S>);
  return output <= kZero ? v16{} : gradient;
}

// The sum of partials (blocks, 2, C) over blocks, in double: as f32 into totals (2, C) behind them, and dw, db (=|+=)
// it.
template <class G, class Args>
void sum_blocks(const Args& a, int64_t num_blocks, int64_t column, int64_t width) {
  const int64_t c = a.affine.w.numel();
  float* partials = static_cast<float*>(a.workspace.data);
  G* const outs[] = {a.dw.template as<G>(), a.db.template as<G>()};
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

// f(i, at, rest, x less the mean, d) for each vector of a tile, `at` its place: d is what reaches the norm.
// source.row(row) is a function of (column, rest), a vector of that row: d or, where Source::kMaskedByX, what reaches
// the ReLU behind the norm, whose output x tells.
template <class S, class Source, class F>
DDP_INLINE void for_gradients(const Tile& tile, const Affine<S>& affine, const Source& source, const S* x, int64_t c,
                              F f) {
  for (int64_t row = tile.begin; row < tile.end; ++row) {
    const auto of_row = source.row(row);
    tile.for_columns([&](int64_t i, int64_t column, int64_t rest) {
      const v16 centred = load_and_ask(x + row * c + column, c, rest) - affine.mean[i];
      v16 d = of_row(column, rest);
      if constexpr (Source::kMaskedByX) d = where_above_zero<S>(affine.of_centred(i, centred), d);
      f(i, row * c + column, rest, centred, d);
    });
  }
}

// BatchNormBackward or BatchNormPoolBackward, of a source as above.
template <class S, class G, class Args, class Source>
void run_gradient(ThreadPool& pool, const Args& a, const Source& source, S* dresidual = nullptr) {
  const int64_t c = a.affine.w.numel(), m = a.x.numel() / c, num_blocks = ceil_div(m, kBatchNormRows);
  const S* x = a.x.template as<S>();
  S* dx = a.dx.template as<S>();
  const auto partials = static_cast<float*>(a.workspace.data);  // (blocks, 2, C): of d xhat, of d
  for_tiles(pool, m, c, [&](const Tile& tile) {
    const Affine<S> affine(a.affine, tile.column, tile.width);
    v16 dw[kVecs] = {}, db[kVecs] = {};
    for_gradients(tile, affine, source, x, c,
                  [&](int64_t i, int64_t, int64_t, v16 centred, v16 d) { dw[i] += d * centred, db[i] += d; });
    float* to = partials + tile.block * 2 * c;
    tile.for_columns([&](int64_t i, int64_t column, int64_t rest) {
      store(to + column, dw[i] * affine.rstd[i], rest);
      store(to + c + column, db[i], rest);
    });
  });
  for_strips(pool, c, [&](int64_t column, int64_t width) { sum_blocks<G>(a, num_blocks, column, width); });
  const float* totals = partials + 2 * num_blocks * c;
  for_tiles(pool, m, c, [&](const Tile& tile) {
    const Affine<S> affine(a.affine, tile.column, tile.width);
    v16 mean_d[kVecs], slope[kVecs];  // slope: (mean of d xhat) rstd
    tile.for_columns([&](int64_t i, int64_t column, int64_t rest) {
      slope[i] = load(totals + column, rest) / float(m) * affine.rstd[i];
      mean_d[i] = load(totals + c + column, rest) / float(m);
    });
    for_gradients(tile, affine, source, x, c, [&](int64_t i, int64_t at, int64_t rest, v16 centred, v16 d) {
      store(dx + at, affine.scale[i] * (d - mean_d[i] - centred * slope[i]), rest);
      if (dresidual != nullptr) store(dresidual + at, d, rest);
    });
  });
}

}  // namespace ddp::cpu
