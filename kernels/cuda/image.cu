// Images: a block of threads is a row of one, its positions and their channels as packs one behind the other.
#include "kernels/cuda/pack.cuh"
//
#include "kernels/cuda/run.h"
#include "kernels/ops/image.h"

namespace ddp::cuda {
namespace {

constexpr int kThreads = 256;

// Of the row of images (N,H,W,C) that a block has.
struct Row {
  int64_t image, row;
};
__device__ __forceinline__ Row row_of_block(int64_t height) {
  const int64_t image = blockIdx.x / height;
  return {image, blockIdx.x - image * height};
}

// f(position, first channel) for the thread's packs of a row of `width` positions.
template <int W, class F>
__device__ __forceinline__ void for_packs(int64_t width, int64_t c, F f) {
  const unsigned packs = unsigned(c) / W;
  for (unsigned i = threadIdx.x; i < unsigned(width) * packs; i += kThreads)
    f(int64_t(i / packs), int64_t(i % packs * W));
}

template <int W, class S>
__global__ void __launch_bounds__(kThreads)
    normalise(S* y, const uint8_t* x, ChannelAffine affine, int64_t width, int64_t c, int64_t padded) {
  const int64_t first = blockIdx.x * width;
  for_packs<W>(width, padded, [&](int64_t position, int64_t channel) {
    Pack<W> values = {};
#pragma unroll
    for (int j = 0; j < W; ++j)
      if (channel + j < c)
        values.x[j] =
            float(x[(first + position) * c + channel + j]) * affine.factor[channel + j] + affine.offset[channel + j];
    store<W>(y + (first + position) * padded + channel, values);
  });
}

// Of the large images (N,H,W,C) and of those at every stride-th position (N,P,Q,C).
struct Strided {
  int64_t height, width, rows, columns, c, stride;
};

template <int W, class S>
__global__ void __launch_bounds__(kThreads) subsample(S* y, const S* x, Strided a) {
  const auto [image, row] = row_of_block(a.rows);
  const S* from = x + (image * a.height + row * a.stride) * a.width * a.c;
  S* to = y + blockIdx.x * a.columns * a.c;
  for_packs<W>(a.columns, a.c, [&](int64_t q, int64_t channel) {
    store<W>(to + q * a.c + channel, load<W>(from + q * a.stride * a.c + channel));
  });
}

template <int W, class S>
__global__ void __launch_bounds__(kThreads) spread(S* dx, const S* dy, Strided a) {
  const auto [image, row] = row_of_block(a.height);
  const bool has_some = row % a.stride == 0;
  const S* from = dy + (image * a.rows + row / a.stride) * a.columns * a.c;
  S* to = dx + blockIdx.x * a.width * a.c;
  for_packs<W>(a.width, a.c, [&](int64_t position, int64_t channel) {
    const int64_t q = position / a.stride;
    const bool is_one = has_some && q * a.stride == position;
    store<W>(to + position * a.c + channel, is_one ? load<W>(from + q * a.c + channel) : Pack<W>{});
  });
}

// A thread a pack of channels.
template <int W, class S>
__global__ void __launch_bounds__(kThreads) average(S* y, const S* x, int64_t n, int64_t positions, int64_t c) {
  const int64_t i = (int64_t(blockIdx.x) * kThreads + threadIdx.x) * W;
  if (i >= n * c) return;
  const int64_t image = i / c;
  const S* from = x + image * positions * c + (i - image * c);
  Pack<W> sum = {};
  for (int64_t at = 0; at < positions; ++at) {
    const Pack<W> more = load<W>(from + at * c);
#pragma unroll
    for (int j = 0; j < W; ++j) sum.x[j] += more.x[j];
  }
#pragma unroll
  for (float& e : sum.x) e /= float(positions);
  store<W>(y + i, sum);
}

template <int W, class S>
__global__ void __launch_bounds__(kThreads)
    spread_evenly(S* dx, const S* dy, int64_t height, int64_t width, int64_t c) {
  const int64_t image = blockIdx.x / height;
  for_packs<W>(width, c, [&](int64_t position, int64_t channel) {
    Pack<W> d = load<W>(dy + image * c + channel);
#pragma unroll
    for (float& e : d.x) e /= float(height * width);
    store<W>(dx + (blockIdx.x * width + position) * c + channel, d);
  });
}

Strided strided(const TensorView& large, const TensorView& small, int64_t stride) {
  return {large.dim(1), large.dim(2), small.dim(1), small.dim(2), large.dim(3), stride};
}

}  // namespace

template <>
void run(Stream& stream, const NormaliseImages& a) {
  with_storage(a.y.dtype, [&](auto s) {
    using S = decltype(s);
    const int64_t width = a.x.dim(2), padded = a.y.dim(3);
    with_width<S>(padded, {a.y.data}, [&](auto w) {
      launch(stream, {"normalise_images", blocks(a.x.dim(0) * a.x.dim(1)), kThreads}, normalise<w, S>, a.y.as<S>(),
             a.x.as<uint8_t>(), channel_affine(a), width, a.x.dim(3), padded);
    });
  });
}

template <>
void run(Stream& stream, const SubsampleForward& a) {
  with_storage(a.x.dtype, [&](auto s) {
    using S = decltype(s);
    with_width<S>(a.x.dim(3), {a.y.data, a.x.data}, [&](auto w) {
      launch(stream, {"subsample_forward", blocks(a.y.dim(0) * a.y.dim(1)), kThreads}, subsample<w, S>, a.y.as<S>(),
             a.x.as<S>(), strided(a.x, a.y, a.stride));
    });
  });
}

template <>
void run(Stream& stream, const SubsampleBackward& a) {
  with_storage(a.dx.dtype, [&](auto s) {
    using S = decltype(s);
    with_width<S>(a.dx.dim(3), {a.dx.data, a.dy.data}, [&](auto w) {
      launch(stream, {"subsample_backward", blocks(a.dx.dim(0) * a.dx.dim(1)), kThreads}, spread<w, S>, a.dx.as<S>(),
             a.dy.as<S>(), strided(a.dx, a.dy, a.stride));
    });
  });
}

template <>
void run(Stream& stream, const AveragePoolForward& a) {
  with_storage(a.x.dtype, [&](auto s) {
    using S = decltype(s);
    const int64_t n = a.x.dim(0), c = a.x.dim(3);
    with_width<S>(c, {a.y.data, a.x.data}, [&](auto w) {
      launch(stream, {"average_pool_forward", blocks(ceil_div(n * c, kThreads * w)), kThreads}, average<w, S>,
             a.y.as<S>(), a.x.as<S>(), n, a.x.dim(1) * a.x.dim(2), c);
    });
  });
}

template <>
void run(Stream& stream, const AveragePoolBackward& a) {
  with_storage(a.dx.dtype, [&](auto s) {
    using S = decltype(s);
    const int64_t height = a.dx.dim(1), width = a.dx.dim(2), c = a.dx.dim(3);
    with_width<S>(c, {a.dx.data, a.dy.data}, [&](auto w) {
      launch(stream, {"average_pool_backward", blocks(a.dx.dim(0) * height), kThreads}, spread_evenly<w, S>,
             a.dx.as<S>(), a.dy.as<S>(), height, width, c);
    });
  });
}

}  // namespace ddp::cuda
