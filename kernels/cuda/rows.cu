// Rows by their indices, a block a row. Legend: N rows by index, M rows of the other tensor, C width.
#include "kernels/cuda/pack.cuh"
//
#include "kernels/cuda/run.h"
#include "kernels/ops/embedding.h"

namespace ddp::cuda {
namespace {

constexpr int kThreads = 128;

template <class S>
struct Rows {
  S* y;
  const S* x;
  const int32_t* index;
  int64_t c, n_sample, m_sample;  // rows of a sample
};

template <int W, class S>
__device__ __forceinline__ void copy_row(S* to, const S* from, int64_t c) {
  for (int64_t i = threadIdx.x * W; i < c; i += kThreads * W) store<W>(to + i, load<W>(from + i));
}

template <int W, class S>
__device__ __forceinline__ void fill_row(S* to, float value, int64_t c) {
  Pack<W> all;
#pragma unroll
  for (float& e : all.x) e = value;
  for (int64_t i = threadIdx.x * W; i < c; i += kThreads * W) store<W>(to + i, all);
}

template <int W, class S>
__global__ void __launch_bounds__(kThreads) gather(Rows<S> a) {
  const int64_t row = blockIdx.x, at = a.index[row];
  S* to = a.y + row * a.c;
  if (at >= 0 && at < a.m_sample)
    copy_row<W>(to, a.x + (row / a.n_sample * a.m_sample + at) * a.c, a.c);
  else
    fill_row<W>(to, at < 0 ? 0.0f : NAN, a.c);  // a corrupt index shows as a loss that is not a number
}

template <int W, class S>
__global__ void __launch_bounds__(kThreads) fill_with_zero(Rows<S> a) {
  fill_row<W>(a.y + int64_t(blockIdx.x) * a.c, 0.0f, a.c);
}

template <int W, class S>
__global__ void __launch_bounds__(kThreads) scatter(Rows<S> a) {
  const int64_t row = blockIdx.x, at = a.index[row];
  if (at >= 0 && at < a.m_sample) copy_row<W>(a.y + (row / a.n_sample * a.m_sample + at) * a.c, a.x + row * a.c, a.c);
}

// f(Rows<S>, W) for rows n by index, of m.
template <class Args, class F>
void with_rows(const Args& a, int64_t n, int64_t m, F f) {
  with_storage(a.x.dtype, [&](auto s) {
    using S = decltype(s);
    const Rows<S> rows = {.y = a.y.template as<S>(),
                          .x = a.x.template as<S>(),
                          .index = a.index.template as<int32_t>(),
                          .c = a.x.dim(1),
                          .n_sample = n / a.samples,
                          .m_sample = m / a.samples};
    with_width<S>(rows.c, {rows.y, rows.x}, [&](auto w) { f(rows, w); });
  });
}

}  // namespace

template <>
void run(Stream& stream, const GatherRows& a) {
  const int64_t n = a.y.dim(0), m = a.x.dim(0);
  with_rows(a, n, m, [&]<class S>(const Rows<S>& rows, auto w) {
    launch(stream, {"gather_rows", blocks(n), kThreads}, gather<w, S>, rows);
  });
}

template <>
void run(Stream& stream, const ScatterRows& a) {
  const int64_t n = a.x.dim(0), m = a.y.dim(0);
  with_rows(a, n, m, [&]<class S>(const Rows<S>& rows, auto w) {
    launch(stream, {"scatter_rows_zero", blocks(m), kThreads}, fill_with_zero<w, S>, rows);
    launch(stream, {"scatter_rows", blocks(n), kThreads}, scatter<w, S>, rows);
  });
}

}  // namespace ddp::cuda
