// Legend: N images of H x W positions of C channels; M = rows (N * H * W).
#include "tests/precision/plain_image_ops.h"

#include <algorithm>
#include <cmath>

#include "tests/precision/stored.h"

namespace ddp::test::plain {
namespace {

ConvolutionSize size_of(const TensorView& x, const TensorView& w, const Window& window) {
  return {.n = x.dim(0),
          .h = x.dim(1),
          .w = x.dim(2),
          .c = x.dim(3),
          .k = w.dim(0),
          .r = w.dim(1),
          .s = w.dim(2),
          .window = window};
}

PoolSize size_of(const TensorView& x) { return {x.dim(0), x.dim(1), x.dim(2), x.dim(3)}; }

// A pass's own, or from the running variance.
Vec rstd_of(const BatchNormAffine& a) {
  if (a.rstd) return load(a.rstd);
  Vec rstd = load(a.variance);
  for (double& v : rstd) v = 1.0 / std::sqrt(v + double(a.eps));
  return rstd;
}

// What the norm alone writes to memory.
Vec normed(const TensorView& x, const BatchNormAffine& a) {
  return rounded(batchnorm(load(x), load(a.mean), rstd_of(a), load(a.w), load(a.b), rounding_to(x.dtype)), x.dtype);
}

// From d, what reaches the norm.
template <class Args>
void store_grads(const Args& a, const Vec& d) {
  const DType type = a.x.dtype;
  const LayerNormGrads grads =
      batchnorm_grads(d, load(a.x), load(a.affine.w), load(a.affine.mean), rstd_of(a.affine), rounding_to(type));
  store(a.dx, grads.dx);
  store_grad(a.dw, grads.dw, type, a.accumulate);
  store_grad(a.db, grads.db, type, a.accumulate);
}

// f(index in x, in y) for each element of y (N,P,Q,C), of every stride-th position of x (N,H,W,C).
template <class F>
void for_subsamples(const TensorView& x, const TensorView& y, int64_t stride, F f) {
  const int64_t rows = y.dim(1), columns = y.dim(2), c = y.dim(3);
  for (int64_t i = 0; i < y.numel(); ++i) {
    const int64_t q = i / c % columns, p = i / c / columns % rows, n = i / c / columns / rows;
    f(size_t(((n * x.dim(1) + p * stride) * x.dim(2) + q * stride) * c + i % c), size_t(i));
  }
}

// f(index in x, in y) for each element of x (N,H,W,C), y (N,C) being its mean over positions.
template <class F>
void for_averaged(const TensorView& x, F f) {
  const int64_t positions = x.dim(1) * x.dim(2), c = x.dim(3);
  for (int64_t i = 0; i < x.numel(); ++i) f(size_t(i), size_t(i / c / positions * c + i % c));
}

}  // namespace

void run(const ConvolutionForward& a) { store(a.y, convolution(load(a.x), load(a.w), size_of(a.x, a.w, a.window))); }

void run(const ConvolutionBackwardInput& a) {
  store(a.dx, convolution_dx(load(a.dy), load(a.w), size_of(a.dx, a.w, a.window)));
}

void run(const ConvolutionBackwardWeight& a) {
  store(a.dw, convolution_dw(load(a.dy), load(a.x), size_of(a.x, a.dw, a.window)));
}

void run(const BatchNormStatistics& a) {
  const double m = double(a.x.dim(0));
  const BatchNormColumns columns = batchnorm_columns(load(a.x), size_t(a.x.dim(1)), double(a.eps));
  store(a.mean, columns.mean), store(a.rstd, columns.rstd);
  if (!a.mean_seen) return;
  Vec unbiased = columns.variance;
  for (double& v : unbiased) v *= m / (m - 1);
  store(a.mean_seen, a.accumulate_seen ? sum(load(a.mean_seen), columns.mean) : columns.mean);
  store(a.variance_seen, a.accumulate_seen ? sum(load(a.variance_seen), unbiased) : unbiased);
}

void run(const BatchNormApply& a) {
  Vec y = normed(a.x, a.affine);
  if (a.residual) y = rounded(sum(y, load(a.residual)), a.x.dtype);
  store(a.y, a.relu ? relu(y) : y);
}

void run(const BatchNormBackward& a) {
  Vec d = load(a.dy);
  if (a.relu) d = where_above_zero(a.y ? load(a.y) : normed(a.x, a.affine), d);
  store_grads(a, d);
  if (a.dresidual) store(a.dresidual, d);
}

void run(const BatchNormPool& a) {
  const Pooled out = pool(relu(normed(a.x, a.affine)), size_of(a.x));
  store(a.y, out.y);
  if (a.index) std::copy(out.index.begin(), out.index.end(), a.index.as<uint8_t>());
}

void run(const BatchNormPoolBackward& a) {
  const uint8_t* index = a.index.as<uint8_t>();
  const Vec d = rounded(pool_grad(load(a.dy), {index, index + a.index.numel()}, size_of(a.x)), a.x.dtype);
  store_grads(a, where_above_zero(normed(a.x, a.affine), d));
}

// Rounded once: a data loader's work, in f32 before anything else.
void run(const NormaliseImages& a) {
  const int64_t c = a.x.dim(3), padded = a.y.dim(3);
  const uint8_t* x = a.x.as<uint8_t>();
  Vec y(size_t(a.y.numel()), 0.0);
  for (int64_t i = 0; i < a.x.numel(); ++i) {
    const size_t channel = size_t(i % c);
    y[size_t(i / c * padded) + channel] = (x[i] / 255.0 - double(a.mean[channel])) / double(a.deviation[channel]);
  }
  store(a.y, y);
}

void run(const SubsampleForward& a) {
  const Vec x = load(a.x);
  Vec y(size_t(a.y.numel()));
  for_subsamples(a.x, a.y, a.stride, [&](size_t in_x, size_t in_y) { y[in_y] = x[in_x]; });
  store(a.y, y);
}

void run(const SubsampleBackward& a) {
  const Vec dy = load(a.dy);
  Vec dx(size_t(a.dx.numel()), 0.0);
  for_subsamples(a.dx, a.dy, a.stride, [&](size_t in_x, size_t in_y) { dx[in_x] = dy[in_y]; });
  store(a.dx, dx);
}

void run(const AveragePoolForward& a) {
  const Vec x = load(a.x);
  const double positions = double(a.x.dim(1) * a.x.dim(2));
  Vec y(size_t(a.y.numel()), 0.0);
  for_averaged(a.x, [&](size_t in_x, size_t in_y) { y[in_y] += x[in_x] / positions; });
  store(a.y, y);
}

void run(const AveragePoolBackward& a) {
  const Vec dy = load(a.dy);
  const double positions = double(a.dx.dim(1) * a.dx.dim(2));
  Vec dx(size_t(a.dx.numel()));
  for_averaged(a.dx, [&](size_t in_x, size_t in_y) { dx[in_x] = dy[in_y] / positions; });
  store(a.dx, dx);
}

}  // namespace ddp::test::plain
