// Images: a block is a row of one, its positions and their channels.
#include <algorithm>

#include "kernels/cpu/run.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/storage.h"
#include "kernels/cpu/vec.h"
#include "kernels/ops/image.h"
#include "runtime/device/cpu_device.h"

namespace ddp::cpu {
namespace {

// f(image, row) for all rows of images (N,H,...).
template <class F>
void for_rows(ThreadPool& pool, const TensorView& images, F f) {
  const int64_t height = images.dim(1);
  pool.parallel_for(images.dim(0) * height, [&](int64_t i) { f(i / height, i % height); });
}

template <class S>
void run(ThreadPool& pool, const NormaliseImages& a) {
  const int64_t height = a.x.dim(1), width = a.x.dim(2), c = a.x.dim(3), padded = a.y.dim(3);
  const ChannelAffine affine = channel_affine(a);
  for_rows(pool, a.x, [&](int64_t image, int64_t row) {
    const int64_t first = (image * height + row) * width;
    const uint8_t* x = a.x.as<uint8_t>() + first * c;
    S* y = a.y.as<S>() + first * padded;
    for (int64_t position = 0; position < width; ++position, x += c, y += padded) {
      v16 values{};
      for (int64_t i = 0; i < c; ++i) values[i] = float(x[i]) * affine.factor[i] + affine.offset[i];
      for (int64_t i = 0; i < padded; i += kVecWidth) store(y + i, i == 0 ? values : v16{}, padded - i);
    }
  });
}

template <class S>
void run(ThreadPool& pool, const SubsampleForward& a) {
  const int64_t height = a.x.dim(1), width = a.x.dim(2), c = a.x.dim(3), columns = a.y.dim(2), rows = a.y.dim(1);
  for_rows(pool, a.y, [&](int64_t image, int64_t row) {
    const S* x = a.x.as<S>() + (image * height + row * a.stride) * width * c;
    S* y = a.y.as<S>() + (image * rows + row) * columns * c;
    for (int64_t q = 0; q < columns; ++q) std::copy_n(x + q * a.stride * c, c, y + q * c);
  });
}

template <class S>
void run(ThreadPool& pool, const SubsampleBackward& a) {
  const int64_t height = a.dx.dim(1), width = a.dx.dim(2), c = a.dx.dim(3), columns = a.dy.dim(2), rows = a.dy.dim(1);
  for_rows(pool, a.dx, [&](int64_t image, int64_t row) {
    S* dx = a.dx.as<S>() + (image * height + row) * width * c;
    std::fill_n(dx, width * c, S{});
    if (row % a.stride != 0) return;
    const S* dy = a.dy.as<S>() + (image * rows + row / a.stride) * columns * c;
    for (int64_t q = 0; q < columns; ++q) std::copy_n(dy + q * c, c, dx + q * a.stride * c);
  });
}

template <class S>
void run(ThreadPool& pool, const AveragePoolForward& a) {
  constexpr int64_t kVecs = 8;  // that are summed side by side
  const int64_t positions = a.x.dim(1) * a.x.dim(2), c = a.x.dim(3), strips = ceil_div(c, kVecs * kVecWidth);
  pool.parallel_for(a.x.dim(0) * strips, [&](int64_t block) {
    const int64_t image = block / strips, begin = block % strips * kVecs * kVecWidth;
    const S* x = a.x.as<S>() + image * positions * c + begin;
    S* y = a.y.as<S>() + image * c + begin;
    v16 sums[kVecs] = {};
    for (int64_t at = 0; at < positions; ++at)
      for (int64_t i = 0; i < kVecs; ++i) sums[i] += load(x + at * c + i * kVecWidth, c - begin - i * kVecWidth);
    for (int64_t i = 0; i < kVecs; ++i) store(y + i * kVecWidth, sums[i] / float(positions), c - begin - i * kVecWidth);
  });
}

template <class S>
void run(ThreadPool& pool, const AveragePoolBackward& a) {
  const int64_t height = a.dx.dim(1), width = a.dx.dim(2), c = a.dx.dim(3);
  for_rows(pool, a.dx, [&](int64_t image, int64_t row) {
    const S* dy = a.dy.as<S>() + image * c;
    S* dx = a.dx.as<S>() + (image * height + row) * width * c;
    for (int64_t i = 0; i < c; i += kVecWidth) store(dx + i, load(dy + i, c - i) / float(height * width), c - i);
    for (int64_t q = 1; q < width; ++q) std::copy_n(dx, c, dx + q * c);
  });
}

}  // namespace

template <>
void run(Stream& stream, const NormaliseImages& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) { with_storage(a.y.dtype, [&](auto s) { run<decltype(s)>(pool, a); }); });
}

template <>
void run(Stream& stream, const SubsampleForward& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) { with_storage(a.x.dtype, [&](auto s) { run<decltype(s)>(pool, a); }); });
}

template <>
void run(Stream& stream, const SubsampleBackward& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) { with_storage(a.dx.dtype, [&](auto s) { run<decltype(s)>(pool, a); }); });
}

template <>
void run(Stream& stream, const AveragePoolForward& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) { with_storage(a.x.dtype, [&](auto s) { run<decltype(s)>(pool, a); }); });
}

template <>
void run(Stream& stream, const AveragePoolBackward& a) {
  cpu_enqueue(stream, [a](ThreadPool& pool) { with_storage(a.dx.dtype, [&](auto s) { run<decltype(s)>(pool, a); }); });
}

}  // namespace ddp::cpu
