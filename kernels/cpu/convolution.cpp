// Convolutions: calls of oneDNN on one thread (convolve.h) that our own pool spreads over its threads.
//
// Forward and data gradient go image by image: no image's bits depend on the others or on the threads, one primitive
// serves every batch, and it is as fast (AMD EPYC, Zen 5, one thread, 2026-11-27: within 2% of a call with 8 images at
// ResNet-50's layers). The weight gradient is a sum over images in an order that oneDNN chooses by its threads and by
// how many images there are, so parts of the batch that depend on the shape alone are added in order.
#include <algorithm>
#include <bit>
#include <utility>

#include "kernels/cpu/convolve.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/parts.h"
#include "kernels/cpu/run.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/wide_copies.h"
#include "kernels/ops/convolution.h"
#include "runtime/device/cpu_device.h"

namespace ddp::cpu {
namespace {

constexpr int64_t kMinFlops = 8'000'000;  // of a slice: below it handing out costs more than it gains

// A convolution of one image.
ConvolutionShape shape_of(ConvolutionPass pass, const TensorView& x, const TensorView& w, const TensorView& y,
                          const Window& window) {
  return {.pass = pass,
          .type = x.dtype,
          .n = 1,
          .h = x.dim(1),
          .w = x.dim(2),
          .c = x.dim(3),
          .p = y.dim(1),
          .q = y.dim(2),
          .k = y.dim(3),
          .r = w.dim(1),
          .s = w.dim(2),
          .stride = window.stride,
          .padding_h = window.padding,
          .padding_w = window.padding};
}

int64_t flops(const ConvolutionShape& s) { return 2 * s.n * s.p * s.q * s.k * s.r * s.s * s.c; }

// f(begin, end) for each of `slices` parts of [0, count), as even as can be.
template <class F>
void for_slices(ThreadPool& pool, int64_t count, int64_t slices, F f) {
  pool.parallel_for(slices, [&](int64_t i) { f(count * i / slices, count * (i + 1) / slices); });
}

// f(begin, end) for slices of the window's positions, whose weights are packed or unpacked.
template <class F>
void for_positions(ThreadPool& pool, const ConvolutionShape& image, F f) {
  constexpr int64_t kMinWeights = 65536;  // of a slice
  const int64_t positions = image.r * image.s, weights = positions * image.c * image.k;
  for_slices(pool, positions, std::min({positions, int64_t(pool.num_threads()), weights / kMinWeights + 1}), f);
}

void for_images(ThreadPool& pool, const ConvolutionShape& image, const TensorView& x, const TensorView& w,
                const TensorView& y) {
  float* packed = thread_scratch<Scratch::operands>(packed_floats(image));
  for_positions(pool, image, [&](int64_t begin, int64_t end) { pack_weights(image, packed, w.data, begin, end); });
  const int64_t n = x.dim(0), slices = std::min({n, int64_t(pool.num_threads()), n * flops(image) / kMinFlops + 1});
  for_slices(pool, n, slices, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) convolve(image, x.rows(i, 1).data, packed, y.rows(i, 1).data);
  });
}

void run(ThreadPool& pool, const ConvolutionForward& a) {
  for_images(pool, shape_of(ConvolutionPass::forward, a.x, a.w, a.y, a.window), a.x, a.w, a.y);
}

// The data gradient as a forward with turned weights, where there is one: at stride 1 and padding inside the window.
// oneDNN's forward is the better one from 32 channels on: AMD EPYC, Zen 5, one thread, 2026-11-27, the 3x3 layers of
// ResNet-50 at 64, 128, 256, 512 channels: 1.10, 1.14, 1.08, 1.27 times as fast in f32, 1.03, 1.01, 1.07, 1.22 in bf16.
bool turns(const ConvolutionShape& s) { return s.stride == 1 && s.padding_h < std::min(s.r, s.s) && s.c >= 32; }

ConvolutionShape turned(const ConvolutionShape& s) {
  ConvolutionShape t = s;
  t.pass = ConvolutionPass::forward;
  std::swap(t.h, t.p), std::swap(t.w, t.q), std::swap(t.c, t.k);
  t.padding_h = s.r - 1 - s.padding_h, t.padding_w = s.s - 1 - s.padding_w;
  t.turned = true;
  return t;
}

void run(ThreadPool& pool, const ConvolutionBackwardInput& a) {
  const ConvolutionShape image = shape_of(ConvolutionPass::input, a.dx, a.w, a.dy, a.window);
  if (turns(image)) return for_images(pool, turned(image), a.dy, a.w, a.dx);
  for_images(pool, image, a.dx, a.w, a.dy);
}

// Of the images, by shape alone. Each part has a dw of its own, which costs as much to write and add as some 60
// positions of y: at most 8 of them, and no part of fewer than 192 positions. A power of two, since batches often are.
int64_t weight_parts(int64_t images, const ConvolutionShape& image) {
  constexpr int64_t kMaxParts = 8, kPositions = 384;
  const int64_t worth = std::min(
      {images, kMaxParts, ceil_div(images * image.p * image.q, kPositions), images * flops(image) / kMinFlops + 1});
  return int64_t(std::bit_floor(uint64_t(worth)));
}

void run(ThreadPool& pool, const ConvolutionBackwardWeight& a) {
  const ConvolutionShape image = shape_of(ConvolutionPass::weight, a.x, a.dw, a.dy, a.window);
  const int64_t n = a.x.dim(0), parts = weight_parts(n, image), floats = packed_floats(image);
  float* packed = thread_scratch<Scratch::operands>(parts * floats);
  pool.parallel_for(parts, [&](int64_t part) {
    const int64_t begin = n * part / parts;
    ConvolutionShape shape = image;
    shape.n = n * (part + 1) / parts - begin;
    convolve(shape, a.x.rows(begin, shape.n).data, packed + part * floats, a.dy.rows(begin, shape.n).data);
  });
  if (parts > 1) add_parts(pool, packed, packed, parts, floats);
  for_positions(pool, image, [&](int64_t begin, int64_t end) { unpack_weights(image, a.dw.data, packed, begin, end); });
}

void run_wide(ThreadPool& pool, ConvolutionForward a) {
  const TensorView y = a.y;
  WideCopies copies(pool, {a.x, a.w, y});
  a.x = copies.widen(a.x), a.w = copies.widen(a.w), a.y = copies.room(y);
  run(pool, a);
  copies.round(y, a.y);
}

void run_wide(ThreadPool& pool, ConvolutionBackwardInput a) {
  const TensorView dx = a.dx;
  WideCopies copies(pool, {a.dy, a.w, dx});
  a.dy = copies.widen(a.dy), a.w = copies.widen(a.w), a.dx = copies.room(dx);
  run(pool, a);
  copies.round(dx, a.dx);
}

void run_wide(ThreadPool& pool, ConvolutionBackwardWeight a) {
  const TensorView dw = a.dw;
  WideCopies copies(pool, {a.x, a.dy, dw});
  a.x = copies.widen(a.x), a.dy = copies.widen(a.dy), a.dw = copies.room(dw);
  run(pool, a);
  copies.round(dw, a.dw);
}

template <class Args>
void enqueue(Stream& stream, DType type, const Args& a) {
  const bool native = type == DType::f32 || (type == DType::bf16 && gemm_takes_bf16());
  cpu_enqueue(stream, [a, native](ThreadPool& pool) { native ? run(pool, a) : run_wide(pool, a); });
}

}  // namespace

template <>
void run(Stream& stream, const ConvolutionForward& a) {
  enqueue(stream, a.x.dtype, a);
}
template <>
void run(Stream& stream, const ConvolutionBackwardInput& a) {
  enqueue(stream, a.dy.dtype, a);
}
template <>
void run(Stream& stream, const ConvolutionBackwardWeight& a) {
  enqueue(stream, a.x.dtype, a);
}

}  // namespace ddp::cpu
