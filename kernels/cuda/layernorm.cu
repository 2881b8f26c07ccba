// Layer norm with the residual addition before it (and dropout on the branch that is added): one read of each input,
// one write of each output, the row kept in shared memory between the passes. Backward sums dw and db over blocks of
// rows into the workspace, then over blocks, in fixed order. Legend: M rows, C width.
#include "kernels/cuda/warp.cuh"

#include <algorithm>

#include "kernels/cuda/dropout.cuh"
#include "kernels/cuda/run.h"
#include "kernels/ops/norm.h"

namespace ddp::cuda {
namespace {

constexpr int64_t kMaxShared = 48 * 1024;  // bytes a block, of every GPU without asking

// ---- forward: a warp a row ----

constexpr int kForwardWarps = 8;

template <class S>
struct Forward {
  S *residual_out, *y;
  float *mean, *rstd;
  const S *residual_in, *branch, *w, *b;  // branch may be nullptr
  int64_t m, c;
  float eps;
  RowMask mask;
};

template <int W, class S>
__global__ void __launch_bounds__(kForwardWarps* kWarp) forward(Forward<S> a) {
  const int64_t warp = threadIdx.x / kWarp, row = int64_t(blockIdx.x) * (blockDim.x / kWarp) + warp;
  if (row >= a.m) return;
  const int64_t c = a.c, at = row * c, first = threadIdx.x % kWarp * W;
  S* x = &shared_memory<S>() + warp * c;  // (C), as stored; each lane touches its own elements only

  float sum = 0.0f;
  for (int64_t i = first; i < c; i += kWarp * W) {
    Pack<W> v = load<W>(a.residual_in + at + i);
    if (a.branch != nullptr) {
      Pack<W> added = load<W>(a.branch + at + i);
      if (a.mask.step != nullptr) {
        const Pack<W> k = keep<W>(a.mask, row, i, c);
#pragma unroll
        for (int j = 0; j < W; ++j) added.x[j] *= k.x[j];
      }
#pragma unroll
      for (int j = 0; j < W; ++j) v.x[j] += added.x[j];
      v = rounded<S>(v);
      store<W>(a.residual_out + at + i, v);
    }
    store<W>(x + i, v);
#pragma unroll
    for (float e : v.x) sum += e;
  }
  const float mean = warp_sum(sum) / float(c);

  float squares = 0.0f;
  for (int64_t i = first; i < c; i += kWarp * W) {
    const Pack<W> v = load<W>(x + i);
#pragma unroll
    for (float e : v.x) squares += (e - mean) * (e - mean);
  }
  const float rstd = 1.0f / sqrtf(warp_sum(squares) / float(c) + a.eps);

  for (int64_t i = first; i < c; i += kWarp * W) {
    Pack<W> v = load<W>(x + i);
    const Pack<W> w = load<W>(a.w + i), b = load<W>(a.b + i);
#pragma unroll
    for (int j = 0; j < W; ++j) v.x[j] = (v.x[j] - mean) * rstd * w.x[j] + b.x[j];
    store<W>(a.y + at + i, v);
  }
  if (threadIdx.x % kWarp == 0) a.mean[row] = mean, a.rstd[row] = rstd;
}

// ---- backward: a block kRows rows, a thread the same columns of each ----

constexpr int64_t kRows = 32;  // as in layernorm_workspace
constexpr int kBackwardThreads = 192;

template <class S>
struct Backward {
  S *dresidual, *dbranch;  // dbranch may be nullptr
  float* partials;         // (blocks, 2, C): dw, db of a block's rows
  const S *dy, *x, *w;
  const float *mean, *rstd;
  int64_t m, c;
  bool accumulate_residual;
  RowMask mask;
};

// Followed by four rows of C floats: xhat and g = dy w of the current row, dw and db so far.
struct BackwardShared {
  BlockScratch<float2> scratch;
};

// One row: dw += dy xhat, db += dy; dresidual (=|+=) rstd (g - mean(g) - xhat mean(g xhat)).
template <int W, class S>
__device__ __forceinline__ void backward_row(const Backward<S>& a, int64_t row, BackwardShared& shared) {
  const int64_t c = a.c, at = row * c, first = threadIdx.x * W;
  float* xhat = reinterpret_cast<float*>(&shared + 1);
  float *g = xhat + c, *dw = g + c, *db = dw + c;
  const float mean = a.mean[row], rstd = a.rstd[row];

  float2 sums = {0.0f, 0.0f};  // of g, of g xhat
  for (int64_t i = first; i < c; i += kBackwardThreads * W) {
    const Pack<W> dy = load<W>(a.dy + at + i), w = load<W>(a.w + i);
    Pack<W> xi = load<W>(a.x + at + i), gi, dwi = load<W>(dw + i), dbi = load<W>(db + i);
#pragma unroll
    for (int j = 0; j < W; ++j) {
      xi.x[j] = (xi.x[j] - mean) * rstd;
      gi.x[j] = dy.x[j] * w.x[j];
      sums.x += gi.x[j], sums.y += gi.x[j] * xi.x[j];
      dwi.x[j] += dy.x[j] * xi.x[j], dbi.x[j] += dy.x[j];
    }
    store<W>(xhat + i, xi), store<W>(g + i, gi), store<W>(dw + i, dwi), store<W>(db + i, dbi);
  }
  sums = block_sum(sums, shared.scratch);
  const float mean_g = sums.x / float(c), mean_g_xhat = sums.y / float(c);

  for (int64_t i = first; i < c; i += kBackwardThreads * W) {
    const Pack<W> xi = load<W>(xhat + i), gi = load<W>(g + i);
    Pack<W> d = {};
    if (a.accumulate_residual) d = load<W>(a.dresidual + at + i);
#pragma unroll
    for (int j = 0; j < W; ++j) d.x[j] += rstd * (gi.x[j] - mean_g - xi.x[j] * mean_g_xhat);
    d = rounded<S>(d);
    store<W>(a.dresidual + at + i, d);
    if (a.dbranch == nullptr) continue;
    if (a.mask.step != nullptr) {
      const Pack<W> k = keep<W>(a.mask, row, i, c);
#pragma unroll
      for (int j = 0; j < W; ++j) d.x[j] *= k.x[j];
    }
    store<W>(a.dbranch + at + i, d);
  }
}

template <int W, class S>
__global__ void __launch_bounds__(kBackwardThreads) backward(Backward<S> a) {
  auto& shared = shared_memory<BackwardShared>();
  float* sums = reinterpret_cast<float*>(&shared + 1) + 2 * a.c;  // (2, C)
  const int64_t first = threadIdx.x * W, c = a.c, block = blockIdx.x;
  for (int64_t i = first; i < c; i += kBackwardThreads * W) store<W>(sums + i, {}), store<W>(sums + c + i, {});
  const int64_t end = min(a.m, (block + 1) * kRows);
  for (int64_t row = block * kRows; row < end; ++row) backward_row<W>(a, row, shared);
  float* out = a.partials + block * 2 * c;
  for (int64_t i = first; i < c; i += kBackwardThreads * W) {
    store<W>(out + i, load<W>(sums + i));
    store<W>(out + c + i, load<W>(sums + c + i));
  }
}

// ---- backward, second stage: 32 columns a block, the blocks of rows in kSlices interleaved sums ----

constexpr int kSlices = 8;

struct ColumnShared {
  float sum[kSlices][kWarp];
};

// dw, db (C) (=|+=) the sum of partials (num_blocks, 2, C) over blocks.
template <class G>
__global__ void __launch_bounds__(kSlices* kWarp)
    sum_partials(G* dw, G* db, const float* partials, int64_t num_blocks, int64_t c, bool accumulate) {
  auto& shared = shared_memory<ColumnShared>();
  const int lane = threadIdx.x, slice = threadIdx.y;
  const int64_t column = int64_t(blockIdx.x) * kWarp + lane;  // of 2 C
  float sum = 0.0f;
  if (column < 2 * c)
    for (int64_t block = slice; block < num_blocks; block += kSlices) sum += partials[block * 2 * c + column];
  shared.sum[slice][lane] = sum;
  __syncthreads();
  if (slice != 0 || column >= 2 * c) return;
#pragma unroll
  for (int s = 1; s < kSlices; ++s) sum += shared.sum[s][lane];
  G* out = column < c ? dw + column : db + (column - c);
  *out = G(accumulate ? float(*out) + sum : sum);
}

template <class S>
void run_forward(Stream& stream, const LayerNormForward& a) {
  const int64_t m = a.residual_in.dim(0), c = a.residual_in.dim(1), row_bytes = c * int64_t(sizeof(S));
  DDP_CHECK(row_bytes <= kMaxShared, "layernorm_forward: rows of {} elements", c);
  const Forward<S> f = {.residual_out = a.branch ? a.residual_out.as<S>() : nullptr,
                        .y = a.y.as<S>(),
                        .mean = a.mean.as<float>(),
                        .rstd = a.rstd.as<float>(),
                        .residual_in = a.residual_in.as<S>(),
                        .branch = a.branch ? a.branch.as<S>() : nullptr,
                        .w = a.w.as<S>(),
                        .b = a.b.as<S>(),
                        .m = m,
                        .c = c,
                        .eps = a.eps,
                        .mask = row_mask(a.dropout, m)};
  const int64_t warps = std::min<int64_t>(kForwardWarps, kMaxShared / row_bytes);
  const LaunchShape shape = {"layernorm_forward", blocks(ceil_div(m, warps)), unsigned(warps * kWarp),
                             size_t(warps * row_bytes)};
  with_width<S>(c, {f.residual_out, f.y, f.residual_in, f.branch, f.w, f.b},
                [&](auto w) { launch(stream, shape, forward<w, S>, f); });
}

template <class S, class G>
void run_backward(Stream& stream, const LayerNormBackward& a) {
  const int64_t m = a.x.dim(0), c = a.x.dim(1), num_blocks = ceil_div(m, kRows);
  const int64_t shared_bytes = int64_t(sizeof(BackwardShared)) + 4 * c * int64_t(sizeof(float));
  DDP_CHECK(shared_bytes <= kMaxShared, "layernorm_backward: rows of {} elements", c);
  const Backward<S> f = {.dresidual = a.dresidual.as<S>(),
                         .dbranch = a.dbranch ? a.dbranch.as<S>() : nullptr,
                         .partials = static_cast<float*>(a.workspace.data),
                         .dy = a.dy.as<S>(),
                         .x = a.x.as<S>(),
                         .w = a.w.as<S>(),
                         .mean = a.mean.as<float>(),
                         .rstd = a.rstd.as<float>(),
                         .m = m,
                         .c = c,
                         .accumulate_residual = a.accumulate_residual,
                         .mask = row_mask(a.dropout, m)};
  const LaunchShape rows = {"layernorm_backward", blocks(num_blocks), kBackwardThreads, size_t(shared_bytes)};
  with_width<S>(c, {f.dresidual, f.dbranch, f.partials, f.dy, f.x, f.w},
                [&](auto w) { launch(stream, rows, backward<w, S>, f); });
  const LaunchShape columns = {"layernorm_sum_partials", blocks(ceil_div(2 * c, kWarp)), dim3(kWarp, kSlices),
                               sizeof(ColumnShared)};
  launch(stream, columns, sum_partials<G>, a.dw.as<G>(), a.db.as<G>(), f.partials, num_blocks, c, a.accumulate);
}

}  // namespace

template <>
void run(Stream& stream, const LayerNormForward& a) {
  with_storage(a.residual_in.dtype, [&](auto s) { run_forward<decltype(s)>(stream, a); });
}

template <>
void run(Stream& stream, const LayerNormBackward& a) {
  with_storage(a.x.dtype, [&](auto s) {
    using S = decltype(s);
    with_grad<S>(a.dw.dtype, [&](auto g) { run_backward<S, decltype(g)>(stream, a); });
  });
}

}  // namespace ddp::cuda
