// Token and position embedding. Backward adds without atomics: the host has sorted the positions by token, so that one
// block owns a token's row and sums its positions in order. Legend: B samples, T positions, C width, V vocabulary,
// M = B T.
#include "kernels/cuda/dropout.cuh"

#include "kernels/cuda/run.h"
#include "kernels/ops/embedding.h"

namespace ddp::cuda {
namespace {

constexpr int kThreads = 128;

template <class S>
struct Forward {
  S* out;
  const int32_t* tokens;
  const S *wte, *wpe;
  int64_t m, t, c, v;
  RowMask mask;
};

// A block a position.
template <int W, class S>
__global__ void __launch_bounds__(kThreads) forward(Forward<S> a) {
  const int64_t row = blockIdx.x, token = a.tokens[row], c = a.c;
  // A corrupt token reads nothing, and shows as a loss that is not a number.
  const bool valid = token >= 0 && token < a.v;
  const S *wte = a.wte + (valid ? token : 0) * c, *wpe = a.wpe + row % a.t * c;
  for (int64_t i = threadIdx.x * W; i < c; i += kThreads * W) {
    Pack<W> x = load<W>(wte + i);
    const Pack<W> position = load<W>(wpe + i);
#pragma unroll
    for (int j = 0; j < W; ++j) x.x[j] = valid ? x.x[j] + position.x[j] : NAN;
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
  float* dwte;
  G* dwpe;
  const S* dout;
  const int32_t *tokens, *order;
  int64_t m, t, c, v, positions;  // positions: rows of dwpe
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

// A block an entry of `order`; the first of each token sums them all.
template <int W, class S, class G>
__global__ void __launch_bounds__(kThreads) backward_tokens(Backward<S, G> a) {
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

template <class S, class G>
void run_backward(Stream& stream, const EmbeddingBackward& a) {
  const int64_t m = a.tokens.numel();
  const Backward<S, G> f = {.dwte = a.dwte.as<float>(),
                            .dwpe = a.dwpe.as<G>(),
                            .dout = a.dout.as<S>(),
                            .tokens = a.tokens.as<int32_t>(),
                            .order = a.order.as<int32_t>(),
                            .m = m,
                            .t = a.tokens.dim(1),
                            .c = a.dwte.dim(1),
                            .v = a.dwte.dim(0),
                            .positions = a.dwpe.dim(0),
                            .accumulate = a.accumulate,
                            .mask = row_mask(a.dropout, m)};
  with_width<S>(f.c, {f.dwte, f.dwpe, f.dout}, [&](auto w) {
    launch(stream, {"embedding_backward_tokens", blocks(m), kThreads}, backward_tokens<w, S, G>, f);
    launch(stream, {"embedding_backward_positions", blocks(f.positions), kThreads}, backward_positions<w, S, G>, f);
  });
}

}  // namespace

template <>
void run(Stream& stream, const EmbeddingForward& a) {
  const int64_t m = a.tokens.numel();
  with_storage(a.wte.dtype, [&](auto s) {
    using S = decltype(s);
    const Forward<S> f = {.out = a.out.as<S>(),
                          .tokens = a.tokens.as<int32_t>(),
                          .wte = a.wte.as<S>(),
                          .wpe = a.wpe.as<S>(),
                          .m = m,
                          .t = a.tokens.dim(1),
                          .c = a.wte.dim(1),
                          .v = a.wte.dim(0),
                          .mask = row_mask(a.dropout, m)};
    with_width<S>(f.c, {f.out, f.wte, f.wpe}, [&](auto w) {
      launch(stream, {"embedding_forward", blocks(m), kThreads}, forward<w, S>, f);
    });
  });
}

template <>
void run(Stream& stream, const EmbeddingBackward& a) {
  DDP_CHECK(a.order, "embedding_backward on CUDA needs the positions sorted by token");
  with_storage(a.dout.dtype, [&](auto s) {
    using S = decltype(s);
    with_grad<S>(a.dwpe.dtype, [&](auto g) { run_backward<S, decltype(g)>(stream, a); });
  });
}

}  // namespace ddp::cuda
