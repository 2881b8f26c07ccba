#include <catch2/catch.hpp>
#include <cmath>

#include "tests/ops/harness.h"

namespace ddp::test {
namespace {

const PoolSize kImages[] = {{3, 1, 1, 7},    {2, 1, 2, 33},  {2, 7, 1, 1},  {2, 8, 5, 64},
                            {1, 13, 14, 33}, {3, 6, 9, 130}, {1, 30, 31, 8}};

TEST_CASE("reference of norm, ReLU and pooling: gradients are those of the forward") {
  const PoolSize image{2, 5, 4, 2};
  const Vec x = widen(randoms(1, image.positions() * image.c)), w = widen(randoms(2, image.c)),
            b = widen(randoms(3, image.c)), dy = widen(randoms(4, image.windows() * image.c));
  const auto normed = [&](const Vec& input) {
    const BatchNormColumns columns = batchnorm_columns(input, size_t(image.c), 1e-5);
    return relu(batchnorm(input, columns.mean, columns.rstd, w, b));
  };
  const Vec numeric = numeric_gradient([&](const Vec& v) { return dot(dy, pool(normed(v), image).y); }, x);
  const BatchNormColumns columns = batchnorm_columns(x, size_t(image.c), 1e-5);
  const Vec activations = normed(x),
            d = where_above_zero(activations, pool_grad(dy, pool(activations, image).index, image));
  const Vec dx = batchnorm_grads(d, x, w, columns.mean, columns.rstd).dx;
  for (size_t i = 0; i < dx.size(); ++i) CHECK(dx[i] == Approx(numeric[i]).epsilon(1e-6).margin(1e-8));
}

// A few values, so that windows hold equal ones, and nothing comes out near 0.
Floats few_values(uint32_t seed, int64_t n) {
  Floats x = randoms(seed, n);
  for (float& v : x) v = std::round(v * 5.0f) / 4.0f;
  return x;
}

struct Operands {
  Stored x, w, b;
  Floats mean, rstd;
  Operands(DType type, const PoolSize& image)
      : x(type, few_values(1, image.positions() * image.c)),
        w(type, randoms(2, image.c)),
        b(type, randoms(13, image.c)) {
    const BatchNormColumns columns = batchnorm_columns(x.wide(), size_t(image.c), 1e-5);
    mean.assign(columns.mean.begin(), columns.mean.end()), rstd.assign(columns.rstd.begin(), columns.rstd.end());
  }
  BatchNormAffine affine() const {
    const auto c = int64_t(mean.size());
    return {.mean = view(mean, {c}), .rstd = view(rstd, {c}), .w = w.view({c}), .b = b.view({c})};
  }
  // Before the ReLU.
  Vec normed() const { return batchnorm(x.wide(), widen(mean), widen(rstd), w.wide(), b.wide()); }
};

TEST_CASE("batchnorm_pool: the largest of each window, the first of equal ones, with or without where it stands") {
  for (const DType type : storage_types())
    for (const PoolSize& image : kImages) {
      CAPTURE(dtype_name(type), image.n, image.h, image.w, image.c);
      const Operands in(type, image);
      const Outputs got = in_every_setting([&](Run& run) {
        const std::vector<uint8_t> before(size_t(image.windows() * image.c), 0xAB);
        const TensorView index = run.output(before, image.pooled());
        for (const bool with_index : {true, false})
          batchnorm_pool(run.exec(), {.y = run.output(image.pooled(), type),
                                      .index = with_index ? index : TensorView{},
                                      .x = in.x.view(image.shape()),
                                      .affine = in.affine()});
      });
      const Pooled want = pool(relu(in.normed()), image);
      CHECK(got.as<uint8_t>(0) == want.index);
      check_close(got.values(1, type), want.y, 1e-6, 3.0 * largest(widen(in.rstd)), type);
      CHECK(got.values(2, type) == got.values(1, type));
    }
}

TEST_CASE("batchnorm_pool: a window of negative values is 0 at its first, a NaN is larger than any number") {
  const PoolSize image{1, 4, 4, 1};
  const Floats x = {-1, -1, 2, 3, -1, -2, 4, NAN, -3, 5, NAN, 6, NAN, 7, 8, INFINITY}, zero = {0.0f}, one = {1.0f};
  const Outputs got = in_every_setting([&](Run& run) {
    batchnorm_pool(run.exec(), {.y = run.output(image.pooled()),
                                .index = run.output(std::vector<uint8_t>(4), image.pooled()),
                                .x = view(x, image.shape()),
                                .affine = {.mean = view(zero, {1}),
                                           .variance = view(one, {1}),
                                           .w = view(one, {1}),
                                           .b = view(zero, {1}),
                                           .eps = 0.0f}});
  });
  const std::vector<uint8_t> index = got.as<uint8_t>(1);
  CHECK(got[0][0] == 0.0f);  // rows and columns -1 to 1
  CHECK(index[0] == 4);
  CHECK(std::isnan(got[0][1]));  // rows -1 to 1, columns 1 to 3
  CHECK(index[1] == 8);
  CHECK(std::isnan(got[0][2]));  // rows 1 to 3, columns -1 to 1
  CHECK(index[2] == 7);
  CHECK(std::isnan(got[0][3]));
  CHECK(index[3] == 2);  // the first of three
}

void check_backward(DType type, DType grad, const PoolSize& image, bool accumulate) {
  const int64_t c = image.c, m = image.positions();
  if (m < 2) return;
  CAPTURE(dtype_name(type), dtype_name(grad), image.n, image.h, image.w, c, accumulate);
  const Operands in(type, image);
  const Stored dy(type, randoms(4, image.windows() * c)), before_w(grad, accumulate ? randoms(5, c) : poison(c)),
      before_b(grad, accumulate ? randoms(6, c) : poison(c));
  const Vec normed = in.normed();
  for (double v : normed) REQUIRE(std::abs(v) > 2e-5);
  const std::vector<uint8_t> index = pool(relu(normed), image).index;
  const Outputs got = in_every_setting([&](Run& run) {
    const auto backward = [&](const TensorView& dx, const TensorView& x) {
      batchnorm_pool_backward(run.exec(), {.dx = dx,
                                           .dw = run.output(before_w, {c}),
                                           .db = run.output(before_b, {c}),
                                           .dy = dy.view(image.pooled()),
                                           .index = view(index, image.pooled()),
                                           .x = x,
                                           .affine = in.affine(),
                                           .workspace = run.output({batchnorm_workspace(m, c) / 4}),
                                           .accumulate = accumulate});
    };
    const TensorView dx = run.output(image.shape(), type), over_x = run.output(in.x, image.shape());
    backward(dx, in.x.view(image.shape()));
    backward(over_x, over_x);
  });
  const Vec d = where_above_zero(normed, pool_grad(dy.wide(), index, image));
  LayerNormGrads want = batchnorm_grads(d, in.x.wide(), in.w.wide(), widen(in.mean), widen(in.rstd));
  const Vec old_w = before_w.wide(), old_b = before_b.wide();
  for (size_t i = 0; accumulate && i < old_w.size(); ++i) want.dw[i] += old_w[i], want.db[i] += old_b[i];
  check_close(got.values(0, type), want.dx, 1e-6, 4.0 * largest(widen(in.rstd)), type);
  CHECK(got.values(1, type) == got.values(0, type));
  check_close(got.values(2, grad), want.dw, 1e-6, std::sqrt(double(m)), grad);
  check_close(got.values(3, grad), want.db, 1e-6, std::sqrt(double(m)), grad);
}

TEST_CASE("batchnorm_pool backward: from the windows whose largest it is, all gradients, and in place") {
  for (const DType type : storage_types())
    for (const PoolSize& image : kImages)
      for (const bool accumulate : {false, true})
        for (const DType grad : grad_types(type, accumulate)) check_backward(type, grad, image, accumulate);
}

}  // namespace
}  // namespace ddp::test
