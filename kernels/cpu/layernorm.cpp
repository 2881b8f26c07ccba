// Layer norm with the residual addition before it (and dropout on the branch that is added). A row stays in L1 over its
// passes. Backward sums dw and db over blocks of rows into the workspace, then over blocks in order. Legend: M rows, C
// width, rows of a sample T = M / B.
#include <algorithm>

#include "kernels/cpu/dropout.h"
#include "kernels/cpu/run.h"
#include "kernels/cpu/storage.h"
#include "kernels/ops/norm.h"
#include "runtime/device/cpu_device.h"

namespace ddp {
namespace {
constexpr int64_t kRows = 32;  // of a block
}

int64_t layernorm_workspace(int64_t m, int64_t c) { return ceil_div(m, kRows) * 2 * c * int64_t(sizeof(float)); }

namespace cpu {
namespace {

// Multipliers of dropout for row `row` of (M, C).
const float* mask_row(const DropoutMask& mask, int64_t row, int64_t rows_per_sample, int64_t c, float* buffer) {
  return mask.row(row / rows_per_sample, row % rows_per_sample * c, c, buffer);
}

int64_t rows_of_sample(const Dropout& d, int64_t m) { return d.p > 0.0f ? m / d.num_samples : m; }

// sum = residual + branch * keep; keep may be null.
template <class S>
void add_branch(S* sum, const S* residual, const S* branch, const float* keep, int64_t c) {
  for (int64_t i = 0; i < c; i += kVecWidth) {
    v16 x = load(branch + i, c - i);
    if (keep != nullptr) x *= load(keep + i, c - i);
    store(sum + i, load(residual + i, c - i) + x, c - i);
  }
}

struct Moments {
  float mean, rstd;
};

template <class S>
Moments moments(const S* x, int64_t c, float eps) {
  v16 total{}, squares{};
  for (int64_t i = 0; i < c; i += kVecWidth) total += load(x + i, c - i);
  const float mean = sum(total) / float(c);
  for (int64_t i = 0; i < c; i += kVecWidth) {
    const v16 d = load(x + i, c - i, mean) - mean;
    squares += d * d;
  }
  return {mean, 1.0f / __builtin_sqrtf(sum(squares) / float(c) + eps)};
}

template <class S>
void run(ThreadPool& pool, const LayerNormForward& a) {
  const int64_t m = a.residual_in.dim(0), c = a.residual_in.dim(1), rows_per_sample = rows_of_sample(a.dropout, m);
  const S *in = a.residual_in.as<S>(), *w = a.w.as<S>(), *b = a.b.as<S>();
  const S* branch = a.branch ? a.branch.as<S>() : nullptr;
  S* residual_out = a.branch ? a.residual_out.as<S>() : nullptr;
  S* y = a.y.as<S>();
  float *mean = a.mean.as<float>(), *rstd = a.rstd.as<float>();
  const DropoutMask mask(a.dropout);
  pool.parallel_for(ceil_div(m, kRows), [&](int64_t block) {
    float* buffer = thread_scratch(DropoutMask::row_buffer(c));
    for (int64_t row = block * kRows; row < std::min(m, (block + 1) * kRows); ++row) {
      const S* x = in + row * c;
      if (branch != nullptr) {
        const float* keep = mask.active() ? mask_row(mask, row, rows_per_sample, c, buffer) : nullptr;
        add_branch(residual_out + row * c, x, branch + row * c, keep, c);
        x = residual_out + row * c;
      }
      const Moments s = moments(x, c, a.eps);
      mean[row] = s.mean, rstd[row] = s.rstd;
      for (int64_t i = 0; i < c; i += kVecWidth) {
        const v16 normed = (load(x + i, c - i) - s.mean) * s.rstd;
        store(y + row * c + i, normed * load(w + i, c - i) + load(b + i, c - i), c - i);
      }
    }
  });
}

// One row: adds dy * xhat to dw and dy to db; dresidual (=|+=) rstd (g - mean(g) - xhat mean(g xhat)) with g = dy w.
template <class S>
void backward_row(const S* dy, const S* x, const S* w, Moments s, int64_t c, bool accumulate, S* dresidual, float* dw,
                  float* db) {
  v16 sum_g{}, sum_g_xhat{};
  for (int64_t i = 0; i < c; i += kVecWidth) {
    const int64_t n = c - i;
    const v16 dyi = load(dy + i, n), xhat = (load(x + i, n) - s.mean) * s.rstd, g = dyi * load(w + i, n);
    sum_g += g;
    sum_g_xhat += g * xhat;
    store(dw + i, load(dw + i, n) + dyi * xhat, n);
    store(db + i, load(db + i, n) + dyi, n);
  }
  const float mean_g = sum(sum_g) / float(c), mean_g_xhat = sum(sum_g_xhat) / float(c);
  for (int64_t i = 0; i < c; i += kVecWidth) {
    const int64_t n = c - i;
    const v16 xhat = (load(x + i, n) - s.mean) * s.rstd, g = load(dy + i, n) * load(w + i, n);
    const v16 dx = (g - mean_g - xhat * mean_g_xhat) * s.rstd;
    store(dresidual + i, accumulate ? load(dresidual + i, n) + dx : dx, n);
  }
}

// out (=|+=) the sum over blocks, in order, of partials (num_blocks, 2C) from column `column` on, n columns.
template <class G>
void sum_blocks(G* out, const float* partials, int64_t num_blocks, int64_t stride, int64_t n, bool accumulate) {
  for (int64_t i = 0; i < n; i += kVecWidth) {
    v16 total{};
    for (int64_t block = 0; block < num_blocks; ++block) total += load(partials + block * stride + i, n - i);
    store(out + i, accumulate ? load(out + i, n - i) + total : total, n - i);
  }
}

template <class S, class G>
void run(ThreadPool& pool, const LayerNormBackward& a) {
  const int64_t m = a.x.dim(0), c = a.x.dim(1), rows_per_sample = rows_of_sample(a.dropout, m);
  const int64_t num_blocks = ceil_div(m, kRows);
  const S *dy = a.dy.as<S>(), *x = a.x.as<S>(), *w = a.w.as<S>();
  const float *mean = a.mean.as<float>(), *rstd = a.rstd.as<float>();
  S* dresidual = a.dresidual.as<S>();
  S* dbranch = a.dbranch ? a.dbranch.as<S>() : nullptr;
  float* partials = static_cast<float*>(a.workspace.data);  // (num_blocks, 2, C): dw, db
  const DropoutMask mask(a.dropout);
  pool.parallel_for(num_blocks, [&](int64_t block) {
    float* buffer = thread_scratch(DropoutMask::row_buffer(c));
    float *dw = partials + block * 2 * c, *db = dw + c;
    std::fill_n(dw, 2 * c, 0.0f);
    for (int64_t row = block * kRows; row < std::min(m, (block + 1) * kRows); ++row) {
      const int64_t at = row * c;
      backward_row(dy + at, x + at, w, {mean[row], rstd[row]}, c, a.accumulate_residual, dresidual + at, dw, db);
      if (dbranch == nullptr) continue;
      const float* keep = mask.active() ? mask_row(mask, row, rows_per_sample, c, buffer) : nullptr;
      for (int64_t i = 0; i < c; i += kVecWidth) {
        const v16 d = load(dresidual + at + i, c - i);
        store(dbranch + at + i, keep != nullptr ? d * load(keep + i, c - i) : d, c - i);
      }
    }
  });
  constexpr int64_t kColumns = 64;
  pool.parallel_for(ceil_div(c, kColumns), [&](int64_t block) {
    const int64_t begin = block * kColumns, n = std::min(kColumns, c - begin);
    sum_blocks(a.dw.as<G>() + begin, partials + begin, num_blocks, 2 * c, n, a.accumulate);
    sum_blocks(a.db.as<G>() + begin, partials + c + begin, num_blocks, 2 * c, n, a.accumulate);
  });
}

}  // namespace

template <>
void run(Stream& stream, const LayerNormForward& a) {
  cpu_enqueue(stream,
              [a](ThreadPool& pool) { with_storage(a.residual_in.dtype, [&](auto s) { run<decltype(s)>(pool, a); }); });
}

template <>
void run(Stream& stream, const LayerNormBackward& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) {
    with_storage(a.x.dtype, [&](auto s) {
      with_grad<decltype(s)>(a.dw.dtype, [&](auto g) { run<decltype(s), decltype(g)>(pool, a); });
    });
  });
}

}  // namespace cpu
}  // namespace ddp
