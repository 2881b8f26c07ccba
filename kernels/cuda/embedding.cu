// Embedding as a sum of rows of tables. Backward adds without atomics: the host has sorted the positions by token, so
// that one block owns a token's row and sums its positions in order; of the few types, blocks own columns. Legend: B
// samples, T positions, C width, V rows of a table, M = B T.
#include "kernels/cuda/warp.cuh"

#include "kernels/cuda/dropout.cuh"
#include "kernels/cuda/run.h"
#include "kernels/ops/embedding.h"

namespace ddp::cuda {
namespace {

constexpr int kThreads = 128;

// Rows by index; of what is absent the table is nullptr.
template <class S>
struct Table {
  const S* rows;
  const int32_t* ids;
  int64_t v;
};

template <class S>
struct Forward {
  S* out;
  Table<S> tokens, types;
  const S *wpe, *dense;  // nullptr: absent
  int64_t m, t, c;
  RowMask mask;
};

template <int W>
__device__ __forceinline__ void add(Pack<W>& sum, const Pack<W>& x) {
#pragma unroll
  for (int j = 0; j < W; ++j) sum.x[j] += x.x[j];
}

// sum += row ids[row] of the table, columns [i, i + W). A corrupt index reads nothing, and shows as a loss that is not
// a number.
template <int W, class S>
__device__ __forceinline__ void add_looked_up(Pack<W>& sum, const Table<S>& table, int64_t row, int64_t i, int64_t c) {
  if (table.rows == nullptr) return;
  const int64_t id = table.ids[row];
  if (id >= 0 && id < table.v) return add(sum, load<W>(table.rows + id * c + i));
#pragma unroll
  for (float& e : sum.x) e = NAN;
}

// A block a position. What is absent leaves a sum as it is, and the first term is added to zero: exact.
template <int W, class S>
__global__ void __launch_bounds__(kThreads) forward(Forward<S> a) {
  const int64_t row = blockIdx.x, c = a.c;
  for (int64_t i = threadIdx.x * W; i < c; i += kThreads * W) {
    Pack<W> x = {};
    add_looked_up(x, a.tokens, row, i, c);
    if (a.wpe != nullptr) add(x, load<W>(a.wpe + row % a.t * c + i));
    add_looked_up(x, a.types, row, i, c);
    if (a.dense != nullptr) add(x, load<W>(a.dense + row * c + i));
    if (a.mask.step != nullptr) {
      const Pack<W> k = keep<W>(a.mask, row, i, c);
#pragma unroll
      for (int j = 0; j < W; ++j) x.x[j] *= k.x[j];
    }
    store<W>(a.out + row * c + i, x);
  }
}

template <class S, class G>
struct Backward {
  float *dwte, *dwtype;
  G* dwpe;
  S* ddense;
  const S* dout;
  const int32_t *tokens, *types, *order;
  int64_t m, t, c, v;
  bool accumulate;
  RowMask mask;
};

// sum += dout of row `row`, columns [i, i + W), under the mask.
template <int W, class S, class G>
__device__ __forceinline__ void add_row(Pack<W>& sum, const Backward<S, G>& a, int64_t row, int64_t i) {
  Pack<W> d = load<W>(a.dout + row * a.c + i);
  if (a.mask.step != nullptr) {
    const Pack<W> k = keep<W>(a.mask, row, i, a.c);
#pragma unroll
    for (int j = 0; j < W; ++j) d.x[j] *= k.x[j];
  }
#pragma unroll
  for (int j = 0; j < W; ++j) sum.x[j] += d.x[j];
}

// A block an entry of `order`; the first of each token sums them all. Unless bounded, ptxas aims at more resident
// blocks and spills on sm_80 and later.
template <int W, class S, class G>
__global__ void __launch_bounds__(kThreads, 1) backward_tokens(Backward<S, G> a) {
  const int64_t first = blockIdx.x;
  const int32_t token = a.tokens[a.order[first]];
  if (token < 0 || token >= a.v || (first > 0 && a.tokens[a.order[first - 1]] == token)) return;
  int64_t end = first + 1;
  while (end < a.m && a.tokens[a.order[end]] == token) ++end;
  for (int64_t i = threadIdx.x * W; i < a.c; i += kThreads * W) {
    float* to = a.dwte + token * a.c + i;
    Pack<W> sum = load<W>(to);
#pragma unroll 4
    for (int64_t k = first; k < end; ++k) add_row(sum, a, a.order[k], i);
    store<W>(to, sum);
  }
}

// A block a row of dwpe: sums over samples, in order.
template <int W, class S, class G>
__global__ void __launch_bounds__(kThreads) backward_positions(Backward<S, G> a) {
  const int64_t t = blockIdx.x;
  if (t >= a.t && a.accumulate) return;
  for (int64_t i = threadIdx.x * W; i < a.c; i += kThreads * W) {
    G* to = a.dwpe + t * a.c + i;
    Pack<W> sum = {};
    if (a.accumulate) sum = load<W>(to);
    if (t < a.t)
      for (int64_t row = t; row < a.m; row += a.t) add_row(sum, a, row, i);
    store<W>(to, sum);
  }
}

constexpr int kSlices = 8;

struct ColumnShared {
  float sum[kSlices][kWarp];
};

// dwtype (Y,C): 32 columns of a row a block, the positions in kSlices interleaved sums.
template <class S, class G>
__global__ void __launch_bounds__(kSlices* kWarp) backward_types(Backward<S, G> a) {
  auto& shared = shared_memory<ColumnShared>();
  const int lane = threadIdx.x, slice = threadIdx.y;
  const int64_t type = blockIdx.x, column = int64_t(blockIdx.y) * kWarp + lane;
  Pack<1> sum = {};
  if (column < a.c)
    for (int64_t row = slice; row < a.m; row += kSlices)
      if (a.types[row] == type) add_row(sum, a, row, column);
  shared.sum[slice][lane] = sum.x[0];
  __syncthreads();
  if (slice != 0 || column >= a.c) return;
  float total = shared.sum[0][lane];
#pragma unroll
  for (int s = 1; s < kSlices; ++s) total += shared.sum[s][lane];
  a.dwtype[type * a.c + column] += total;
}

// A block a position.
template <int W, class S, class G>
__global__ void __launch_bounds__(kThreads) backward_dense(Backward<S, G> a) {
  const int64_t row = blockIdx.x;
  for (int64_t i = threadIdx.x * W; i < a.c; i += kThreads * W) {
    Pack<W> d = {};
    add_row(d, a, row, i);
    store<W>(a.ddense + row * a.c + i, d);
  }
}

template <class T>
T* data_or_null(const TensorView& x) {
  return x ? x.as<T>() : nullptr;
}

template <class S, class G>
void run_backward(Stream& stream, const EmbeddingBackward& a) {
  const int64_t t = a.dout.dim(1), m = a.dout.dim(0) * t;
  const Backward<S, G> f = {.dwte = data_or_null<float>(a.dwte),
                            .dwtype = data_or_null<float>(a.dwtype),
                            .dwpe = data_or_null<G>(a.dwpe),
                            .ddense = data_or_null<S>(a.ddense),
                            .dout = a.dout.as<S>(),
                            .tokens = data_or_null<int32_t>(a.tokens),
                            .types = data_or_null<int32_t>(a.types),
                            .order = data_or_null<int32_t>(a.order),
                            .m = m,
                            .t = t,
                            .c = a.dout.dim(2),
                            .v = a.dwte ? a.dwte.dim(0) : 0,
                            .accumulate = a.accumulate,
                            .mask = row_mask(a.dropout, m)};
  with_width<S>(f.c, {f.dwte, f.dwpe, f.dout, f.ddense}, [&](auto w) {
    if (a.dwte) launch(stream, {"embedding_backward_tokens", blocks(m), kThreads}, backward_tokens<w, S, G>, f);
    if (a.dwpe)
      launch(stream, {"embedding_backward_positions", blocks(a.dwpe.dim(0)), kThreads}, backward_positions<w, S, G>, f);
    if (a.dwtype) {
      const dim3 grid(unsigned(a.dwtype.dim(0)), unsigned(ceil_div(f.c, kWarp)));
      launch(stream, {"embedding_backward_types", grid, dim3(kWarp, kSlices), sizeof(ColumnShared)},
             backward_types<S, G>, f);
    }
    if (a.ddense) launch(stream, {"embedding_backward_dense", blocks(m), kThreads}, backward_dense<w, S, G>, f);
  });
}

template <class S>
Table<S> table_of(const TensorView& table, const TensorView& ids) {
  if (!table) return {};
  return {table.as<S>(), ids.as<int32_t>(), table.dim(0)};
}

}  // namespace

template <>
void run(Stream& stream, const EmbeddingForward& a) {
  with_storage(a.out.dtype, [&](auto s) {
    using S = decltype(s);
    const int64_t t = a.out.dim(1), m = a.out.dim(0) * t;
    const Forward<S> f = {.out = a.out.as<S>(),
                          .tokens = table_of<S>(a.wte, a.tokens),
                          .types = table_of<S>(a.wtype, a.types),
                          .wpe = data_or_null<S>(a.wpe),
                          .dense = data_or_null<S>(a.dense),
                          .m = m,
                          .t = t,
                          .c = a.out.dim(2),
                          .mask = row_mask(a.dropout, m)};
    with_width<S>(f.c, {f.out, f.tokens.rows, f.types.rows, f.wpe, f.dense}, [&](auto w) {
      launch(stream, {"embedding_forward", blocks(m), kThreads}, forward<w, S>, f);
    });
  });
}

template <>
void run(Stream& stream, const EmbeddingBackward& a) {
  DDP_CHECK(!a.dwte || a.order, "embedding_backward on CUDA needs the positions sorted by token");
  with_storage(a.dout.dtype, [&](auto s) {
    using S = decltype(s);
    with_grad<S>(a.dwpe ? a.dwpe.dtype : DType::f32, [&](auto g) { run_backward<S, decltype(g)>(stream, a); });
  });
}

}  // namespace ddp::cuda
