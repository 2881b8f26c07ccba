#include <catch2/catch.hpp>
#include <cmath>

#include "tests/ops/harness.h"

namespace ddp::test {
namespace {

constexpr float kEps = 1e-5f;

struct Size {
  int64_t m, c;
};
// Rows within a block of sums, several blocks of them, more blocks than are merged side by side on a GPU.
const Size kSizes[] = {{2, 1}, {7, 33}, {129, 7}, {1000, 130}, {300, 64}, {4300, 3}};

struct Columns {
  Vec mean, variance, rstd;  // variance: biased
};

Columns columns_of(const Vec& x, int64_t m, int64_t c) {
  Columns out{Vec(size_t(c), 0.0), Vec(size_t(c), 0.0), {}};
  for (size_t i = 0; i < x.size(); ++i) out.mean[i % size_t(c)] += x[i] / double(m);
  for (size_t i = 0; i < x.size(); ++i)
    out.variance[i % size_t(c)] += std::pow(x[i] - out.mean[i % size_t(c)], 2) / double(m);
  for (double v : out.variance) out.rstd.push_back(1.0 / std::sqrt(v + double(kEps)));
  return out;
}

Vec normed(const Vec& x, const Vec& mean, const Vec& rstd, const Vec& w, const Vec& b) {
  Vec y = x;
  for (size_t i = 0; i < y.size(); ++i) {
    const size_t column = i % w.size();
    y[i] = (x[i] - mean[column]) * rstd[column] * w[column] + b[column];
  }
  return y;
}

// Values of which each column has a mean and a deviation of its own.
Stored inputs(DType type, Size size, float offset) {
  Floats x = randoms(1, size.m * size.c);
  for (size_t i = 0; i < x.size(); ++i) x[i] = (x[i] + offset) * (1.0f + float(i % size_t(size.c)) / 16.0f);
  return {type, x};
}

void check_forward(DType type, Size size, float offset, bool accumulate) {
  const auto [m, c] = size;
  CAPTURE(dtype_name(type), m, c, offset, accumulate);
  const Stored x = inputs(type, size, offset), w(type, randoms(2, c)), b(type, randoms(3, c));
  std::vector<double> mean_before(size_t(c), NAN), variance_before(size_t(c), NAN);
  for (size_t i = 0; accumulate && i < size_t(c); ++i) {
    mean_before[i] = double(i) - 3.5;
    variance_before[i] = double(i) + 7.5;
  }
  const Outputs got = in_every_setting([&](Run& run) {
    batchnorm_forward(run.exec(), {.y = run.output({m, c}, type),
                                   .mean = run.output({c}),
                                   .rstd = run.output({c}),
                                   .mean_seen = run.output(mean_before, {c}),
                                   .variance_seen = run.output(variance_before, {c}),
                                   .x = x.view({m, c}),
                                   .w = w.view({c}),
                                   .b = b.view({c}),
                                   .workspace = run.output({batchnorm_workspace(m, c) / 4}),
                                   .eps = kEps,
                                   .accumulate_seen = accumulate});
  });
  const Columns want = columns_of(x.wide(), m, c);
  // The mean is rounded as it is kept: y's error is that of a number of `offset`, in deviations.
  const double deviations = 1.0 + 2.0 * double(offset);
  check_close(got[1], want.mean, 2e-7, 8.0);  // sums of distances up to 8
  check_close(got[2], want.rstd, m == 2 ? 1e-4 : 2e-6, 1e-12);
  check_close(got.values(0, type), normed(x.wide(), want.mean, want.rstd, w.wide(), b.wide()),
              m == 2 ? 1e-4 : 1e-6 * deviations, 3.0, type);
  const std::vector<double> mean_seen = got.as<double>(3), variance_seen = got.as<double>(4);
  for (size_t i = 0; i < size_t(c); ++i) {
    const double old_mean = accumulate ? mean_before[i] : 0.0, old_variance = accumulate ? variance_before[i] : 0.0;
    CHECK(mean_seen[i] == Approx(old_mean + want.mean[i]).epsilon(1e-7).margin(2e-6));
    CHECK(variance_seen[i] ==
          Approx(old_variance + want.variance[i] * double(m) / double(m - 1)).epsilon(2e-6).margin(1e-9));
  }
}

TEST_CASE("batchnorm forward: output, kept moments and statistics, written and added, at odd sizes") {
  for (const DType type : storage_types())
    for (const Size& size : kSizes)
      for (const bool accumulate : {false, true}) check_forward(type, size, 0.3f, accumulate);
}

TEST_CASE("batchnorm forward: a mean of a hundred deviations") {
  // A deviation is 0.58; bf16 cannot tell such values apart.
  for (const DType type : {DType::f32, DType::f16})
    for (const Size& size : kSizes) check_forward(type, size, 60.0f, false);
}

TEST_CASE("batchnorm forward: what is seen may be left out, one row is refused") {
  const Stored x(DType::f32, randoms(1, 4 * 3)), w(DType::f32, randoms(2, 3));
  const auto run_rows = [&](int64_t m) {
    return in_every_setting([&](Run& run) {
      batchnorm_forward(run.exec(), {.y = run.output({m, 3}),
                                     .mean = run.output({3}),
                                     .rstd = run.output({3}),
                                     .x = x.view({4, 3}).rows(0, m),
                                     .w = w.view({3}),
                                     .b = w.view({3}),
                                     .workspace = run.output({batchnorm_workspace(m, 3) / 4})});
    });
  };
  check_close(run_rows(4)[1], columns_of(x.wide(), 4, 3).mean, 1e-6, 1.0);
  CHECK_THROWS_WITH(run_rows(1), Catch::Matchers::Contains("1 rows have no variance"));
}

TEST_CASE("batchnorm evaluate: with the statistics that are given") {
  for (const DType type : storage_types())
    for (const Size& size : {Size{1, 1}, Size{7, 33}, Size{300, 64}}) {
      const auto [m, c] = size;
      CAPTURE(dtype_name(type), m, c);
      const Stored x = inputs(type, size, 0.3f), w(type, randoms(2, c)), b(type, randoms(3, c));
      const Floats mean = randoms(4, c);
      Floats variance = randoms(5, c);
      Vec rstd;
      for (float& v : variance) v = v * v, rstd.push_back(1.0 / std::sqrt(double(v) + double(kEps)));
      const Outputs got = in_every_setting([&](Run& run) {
        batchnorm_evaluate(run.exec(), {.y = run.output({m, c}, type),
                                        .x = x.view({m, c}),
                                        .mean = view(mean, {c}),
                                        .variance = view(variance, {c}),
                                        .w = w.view({c}),
                                        .b = b.view({c}),
                                        .eps = kEps});
      });
      check_close(got.values(0, type), normed(x.wide(), widen(mean), rstd, w.wide(), b.wide()), 1e-6, 3.0, type);
    }
}

struct Grads {
  Vec dx, dw, db;
};

Grads gradients(const Vec& dy, const Vec& x, const Vec& w, const Vec& mean, const Vec& rstd) {
  const size_t c = w.size();
  const double m = double(x.size() / c);
  Grads out{Vec(x.size()), Vec(c, 0.0), Vec(c, 0.0)};
  const auto xhat = [&](size_t i) { return (x[i] - mean[i % c]) * rstd[i % c]; };
  for (size_t i = 0; i < x.size(); ++i) out.dw[i % c] += dy[i] * xhat(i), out.db[i % c] += dy[i];
  for (size_t i = 0; i < x.size(); ++i)
    out.dx[i] = w[i % c] * rstd[i % c] * (dy[i] - out.db[i % c] / m - xhat(i) * out.dw[i % c] / m);
  return out;
}

TEST_CASE("reference batch norm: gradients are those of the forward") {
  const int64_t m = 5, c = 3;
  const Vec x = widen(randoms(1, m * c)), w = widen(randoms(2, c)), b = widen(randoms(3, c)),
            dy = widen(randoms(4, m * c));
  const auto forward = [&](const Vec& input, const Vec& weight) {
    const Columns columns = columns_of(input, m, c);
    return dot(dy, normed(input, columns.mean, columns.rstd, weight, b));
  };
  const Columns columns = columns_of(x, m, c);
  const Grads got = gradients(dy, x, w, columns.mean, columns.rstd);
  const Vec dx = numeric_gradient([&](const Vec&v) { return forward(v, w); }, x),
            dw = numeric_gradient([&](const Vec&v) { return forward(x, v); }, w);
  for (size_t i = 0; i < dx.size(); ++i) CHECK(got.dx[i] == Approx(dx[i]).epsilon(1e-6).margin(1e-8));
  for (size_t i = 0; i < dw.size(); ++i) CHECK(got.dw[i] == Approx(dw[i]).epsilon(1e-6).margin(1e-8));
}

void check_backward(DType type, DType grad, Size size, bool accumulate) {
  const auto [m, c] = size;
  CAPTURE(dtype_name(type), dtype_name(grad), m, c, accumulate);
  const Stored x = inputs(type, size, 0.3f), dy(type, randoms(2, m * c)), w(type, randoms(3, c)),
               before_w(grad, accumulate ? randoms(4, c) : poison(c)),
               before_b(grad, accumulate ? randoms(5, c) : poison(c));
  const Columns columns = columns_of(x.wide(), m, c);
  const Floats mean(columns.mean.begin(), columns.mean.end()), rstd(columns.rstd.begin(), columns.rstd.end());
  const Outputs got = in_every_setting([&](Run& run) {
    const auto backward = [&](const TensorView& dx, const TensorView& dout) {
      batchnorm_backward(run.exec(), {.dx = dx,
                                      .dw = run.output(before_w, {c}),
                                      .db = run.output(before_b, {c}),
                                      .dy = dout,
                                      .x = x.view({m, c}),
                                      .mean = view(mean, {c}),
                                      .rstd = view(rstd, {c}),
                                      .w = w.view({c}),
                                      .workspace = run.output({batchnorm_workspace(m, c) / 4}),
                                      .accumulate = accumulate});
    };
    backward(run.output({m, c}, type), dy.view({m, c}));
    const TensorView in_place = run.output(dy, {m, c});
    backward(in_place, in_place);
  });
  Grads want = gradients(dy.wide(), x.wide(), w.wide(), widen(mean), widen(rstd));
  const Vec old_w = before_w.wide(), old_b = before_b.wide();
  for (size_t i = 0; accumulate && i < old_w.size(); ++i) want.dw[i] += old_w[i], want.db[i] += old_b[i];
  check_close(got.values(0, type), want.dx, 1e-6, 2.0 * largest(widen(rstd)), type);
  check_close(got.values(1, grad), want.dw, 1e-6, std::sqrt(double(m)), grad);
  check_close(got.values(2, grad), want.db, 1e-6, std::sqrt(double(m)), grad);
  CHECK(got.values(4, type) == got.values(0, type));
}

TEST_CASE("batchnorm backward: all gradients, weights' written and added, and in place, at odd sizes") {
  for (const DType type : storage_types())
    for (const Size& size : kSizes)
      for (const bool accumulate : {false, true})
        for (const DType grad : grad_types(type, accumulate)) check_backward(type, grad, size, accumulate);
}

}  // namespace
}  // namespace ddp::test
