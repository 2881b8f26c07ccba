#include <catch2/catch.hpp>
#include <cmath>

#include "tests/ops/harness.h"

namespace ddp::test {
namespace {

constexpr float kEps = 1e-5f;

struct Size {
  int64_t m, c;
};
// Rows within a block of sums, several blocks of them, more blocks than are merged side by side on a GPU; columns that
// fit packs of 16 bytes, and not.
const Size kSizes[] = {{2, 1}, {7, 33}, {129, 7}, {300, 64}, {200, 136}, {150, 130}, {8300, 3}};
// More rows than a block of sums has on a GPU in the others.
constexpr Size kManyRows = {140'000, 1};

// Values of which each column has a mean and a deviation of its own.
Stored inputs(DType type, Size size, float offset) {
  Floats x = randoms(1, size.m * size.c);
  for (size_t i = 0; i < x.size(); ++i) x[i] = (x[i] + offset) * (1.0f + float(i % size_t(size.c)) / 16.0f);
  return {type, x};
}

// Values of a grid: so few that none comes out near 0, where rounding would decide which side of the ReLU it is on.
Floats on_grid(uint32_t seed, int64_t n) {
  Floats x = randoms(seed, n);
  for (float& v : x) v = std::round(v * 16.0f) / 16.0f;
  return x;
}

void check_away_from_zero(const Vec& x) {
  for (double v : x) REQUIRE(std::abs(v) > 2e-5);
}

Floats narrow(const Vec& x) { return Floats(x.begin(), x.end()); }

// ---- statistics ----

void check_statistics(DType type, Size size, float offset, bool accumulate) {
  const auto [m, c] = size;
  CAPTURE(dtype_name(type), m, c, offset, accumulate);
  const Stored x = inputs(type, size, offset);
  std::vector<double> mean_before(size_t(c), NAN), variance_before(size_t(c), NAN);
  for (size_t i = 0; accumulate && i < size_t(c); ++i) {
    mean_before[i] = double(i) - 3.5;
    variance_before[i] = double(i) + 7.5;
  }
  const Outputs got = in_every_setting([&](Run& run) {
    batchnorm_statistics(run.exec(), {.mean = run.output({c}),
                                      .rstd = run.output({c}),
                                      .mean_seen = run.output(mean_before, {c}),
                                      .variance_seen = run.output(variance_before, {c}),
                                      .x = x.view({m, c}),
                                      .workspace = run.output({batchnorm_workspace(m, c) / 4}),
                                      .eps = kEps,
                                      .accumulate_seen = accumulate});
  });
  const BatchNormColumns want = batchnorm_columns(x.wide(), size_t(c), double(kEps));
  check_close(got[0], want.mean, 2e-7, 8.0);  // sums of distances up to 8
  check_close(got[1], want.rstd, m == 2 ? 1e-4 : 2e-6, 1e-12);
  const std::vector<double> mean_seen = got.as<double>(2), variance_seen = got.as<double>(3);
  for (size_t i = 0; i < size_t(c); ++i) {
    const double old_mean = accumulate ? mean_before[i] : 0.0, old_variance = accumulate ? variance_before[i] : 0.0;
    CHECK(mean_seen[i] == Approx(old_mean + want.mean[i]).epsilon(1e-7).margin(2e-6));
    CHECK(variance_seen[i] ==
          Approx(old_variance + want.variance[i] * double(m) / double(m - 1)).epsilon(2e-6).margin(1e-9));
  }
}

TEST_CASE("batchnorm statistics: kept and seen, written and added, at odd sizes") {
  for (const DType type : storage_types())
    for (const Size& size : kSizes)
      for (const bool accumulate : {false, true}) check_statistics(type, size, 0.3f, accumulate);
  check_statistics(DType::f32, kManyRows, 0.3f, false);
}

TEST_CASE("batchnorm statistics: a mean of a hundred deviations") {
  // A deviation is 0.58; bf16 cannot tell such values apart.
  for (const DType type : {DType::f32, DType::f16})
    for (const Size& size : kSizes) check_statistics(type, size, 60.0f, false);
}

TEST_CASE("batchnorm statistics: what is seen may be left out, one row is refused") {
  const Stored x(DType::f32, randoms(1, 4 * 3));
  const auto run_rows = [&](int64_t m) {
    return in_every_setting([&](Run& run) {
      batchnorm_statistics(run.exec(), {.mean = run.output({3}),
                                        .rstd = run.output({3}),
                                        .x = x.view({4, 3}).rows(0, m),
                                        .workspace = run.output({batchnorm_workspace(m, 3) / 4})});
    });
  };
  check_close(run_rows(4)[0], batchnorm_columns(x.wide(), 3, double(kEps)).mean, 1e-6, 1.0);
  CHECK_THROWS_WITH(run_rows(1), Catch::Matchers::Contains("1 rows have no variance"));
}

// ---- apply ----

void check_apply(DType type, Size size, bool by_variance) {
  const auto [m, c] = size;
  CAPTURE(dtype_name(type), m, c, by_variance);
  const Stored x = inputs(type, size, 0.3f), w(type, randoms(2, c)), b(type, randoms(3, c)),
               residual(type, randoms(6, m * c));
  const Floats mean = randoms(4, c);
  Floats variance = randoms(5, c), rstd;
  for (float& v : variance) v = v * v, rstd.push_back(float(1.0 / std::sqrt(double(v) + double(kEps))));
  const Outputs got = in_every_setting([&](Run& run) {
    BatchNormAffine affine = {.mean = view(mean, {c}), .w = w.view({c}), .b = b.view({c}), .eps = kEps};
    (by_variance ? affine.variance : affine.rstd) = view(by_variance ? variance : rstd, {c});
    const auto apply = [&](const TensorView& y, const TensorView& in, const TensorView& more, bool relu) {
      batchnorm_apply(run.exec(), {.y = y, .x = in, .residual = more, .affine = affine, .relu = relu});
    };
    for (const bool relu : {false, true}) {
      apply(run.output({m, c}, type), x.view({m, c}), {}, relu);
      apply(run.output({m, c}, type), x.view({m, c}), residual.view({m, c}), relu);
      const TensorView over_x = run.output(x, {m, c}), over_residual = run.output(residual, {m, c});
      apply(over_x, over_x, residual.view({m, c}), relu);
      apply(over_residual, x.view({m, c}), over_residual, relu);
    }
  });
  const Vec alone = batchnorm(x.wide(), widen(mean), widen(rstd), w.wide(), b.wide()), more = residual.wide();
  Vec sum = alone;
  for (size_t i = 0; i < sum.size(); ++i) sum[i] += more[i];
  for (const size_t first : {0u, 4u}) {
    const auto form = first == 0 ? [](Vec v) { return v; } : relu;
    check_close(got.values(first, type), form(alone), 1e-6, 6.0 * largest(widen(rstd)), type);
    check_close(got.values(first + 1, type), form(sum), 1e-6, 6.0 * largest(widen(rstd)), type);
    CHECK(got.values(first + 2, type) == got.values(first + 1, type));
    CHECK(got.values(first + 3, type) == got.values(first + 1, type));
  }
}

TEST_CASE("batchnorm apply: plain, with a residual, with ReLU, and in place") {
  for (const DType type : storage_types())
    for (const Size& size : {Size{1, 1}, Size{7, 33}, Size{300, 64}, Size{9, 130}, Size{70, 136}})
      for (const bool by_variance : {false, true}) check_apply(type, size, by_variance);
}

TEST_CASE("batchnorm apply: ReLU keeps NaN, and backward lets its gradient through") {
  const Floats x = {1.0f, NAN, -1.0f}, zero = {0.0f}, one = {1.0f}, dy = {2.0f, 3.0f, 5.0f};
  const Outputs got = in_every_setting([&](Run& run) {
    const BatchNormAffine affine = {
        .mean = view(zero, {1}), .rstd = view(one, {1}), .w = view(one, {1}), .b = view(zero, {1})};
    const TensorView y = run.output({3, 1}), db = run.output({1}), db_by_y = run.output({1});
    batchnorm_apply(run.exec(), {.y = y, .x = view(x, {3, 1}), .affine = affine, .relu = true});
    for (const bool by_y : {false, true})
      batchnorm_backward(run.exec(), {.dx = run.output({3, 1}),
                                      .dw = run.output({1}),
                                      .db = by_y ? db_by_y : db,
                                      .dy = view(dy, {3, 1}),
                                      .x = view(x, {3, 1}),
                                      .y = by_y ? y : TensorView{},
                                      .affine = affine,
                                      .workspace = run.output({batchnorm_workspace(3, 1) / 4}),
                                      .relu = true});
  });
  CHECK(got[0][0] == 1.0f);
  CHECK(std::isnan(got[0][1]));
  CHECK(got[0][2] == 0.0f);
  CHECK(got[1] == Floats{5.0f});
  CHECK(got[2] == Floats{5.0f});
}

// ---- backward ----

TEST_CASE("reference batch norm: gradients are those of the forward, with ReLU and residual") {
  const int64_t m = 5, c = 3;
  const Vec x = widen(randoms(1, m * c)), w = widen(randoms(2, c)), b = widen(randoms(3, c)),
            dy = widen(randoms(4, m * c)), residual = widen(randoms(5, m * c));
  for (const bool with_relu : {false, true}) {
    const auto forward = [&](const Vec& input, const Vec& weight, const Vec& bias, const Vec& shortcut) {
      const BatchNormColumns columns = batchnorm_columns(input, size_t(c), double(kEps));
      Vec y = batchnorm(input, columns.mean, columns.rstd, weight, bias);
      for (size_t i = 0; i < y.size(); ++i) y[i] += shortcut[i];
      return with_relu ? relu(y) : y;
    };
    const Vec y = forward(x, w, b, residual), d = with_relu ? where_above_zero(y, dy) : dy;
    const BatchNormColumns columns = batchnorm_columns(x, size_t(c), double(kEps));
    const LayerNormGrads got = batchnorm_grads(d, x, w, columns.mean, columns.rstd);
    const auto check = [](const Vec& gradient, const Vec& numeric) {
      for (size_t i = 0; i < numeric.size(); ++i) CHECK(gradient[i] == Approx(numeric[i]).epsilon(1e-6).margin(1e-8));
    };
    check(got.dx, numeric_gradient([&](const Vec& v) { return dot(dy, forward(v, w, b, residual)); }, x));
    check(got.dw, numeric_gradient([&](const Vec& v) { return dot(dy, forward(x, v, b, residual)); }, w));
    check(got.db, numeric_gradient([&](const Vec& v) { return dot(dy, forward(x, w, v, residual)); }, b));
    check(d, numeric_gradient([&](const Vec& v) { return dot(dy, forward(x, w, b, v)); }, residual));
  }
}

// Where backward sees what the ReLU let through.
enum class Mask { none, by_x, by_y };

struct Form {
  Mask mask;
  bool residual;
};
const Form kForms[] = {
    {Mask::none, false}, {Mask::none, true}, {Mask::by_x, false}, {Mask::by_y, false}, {Mask::by_y, true}};

void check_backward(DType type, DType grad, Size size, bool accumulate, Form form) {
  const auto [m, c] = size;
  CAPTURE(dtype_name(type), dtype_name(grad), m, c, accumulate, int(form.mask), form.residual);
  const Stored x(type, on_grid(1, m * c)), dy(type, randoms(2, m * c)), w(type, randoms(3, c)), b(type, randoms(17, c)),
      y(type, on_grid(6, m * c)),  // not what apply would write: the mask is seen to be y's
      before_w(grad, accumulate ? randoms(4, c) : poison(c)), before_b(grad, accumulate ? randoms(5, c) : poison(c));
  const BatchNormColumns columns = batchnorm_columns(x.wide(), size_t(c), double(kEps));
  const Floats mean = narrow(columns.mean), rstd = narrow(columns.rstd);
  const Outputs got = in_every_setting([&](Run& run) {
    const auto backward = [&](const TensorView& dx, const TensorView& dout, const TensorView& in,
                              const TensorView& dresidual) {
      batchnorm_backward(
          run.exec(), {.dx = dx,
                       .dw = run.output(before_w, {c}),
                       .db = run.output(before_b, {c}),
                       .dresidual = dresidual,
                       .dy = dout,
                       .x = in,
                       .y = form.mask == Mask::by_y ? y.view({m, c}) : TensorView{},
                       .affine = {.mean = view(mean, {c}), .rstd = view(rstd, {c}), .w = w.view({c}), .b = b.view({c})},
                       .workspace = run.output({batchnorm_workspace(m, c) / 4}),
                       .relu = form.mask != Mask::none,
                       .accumulate = accumulate});
    };
    const auto gradient_of_residual = [&] { return form.residual ? run.output({m, c}, type) : TensorView{}; };
    const TensorView dx = run.output({m, c}, type), over_dy = run.output(dy, {m, c}), over_x = run.output(x, {m, c}),
                     residual = gradient_of_residual(), residual_of_over_dy = gradient_of_residual();
    backward(dx, dy.view({m, c}), x.view({m, c}), residual);
    backward(over_dy, over_dy, x.view({m, c}), residual_of_over_dy);
    if (form.residual) {
      const TensorView also_over_dy = run.output(dy, {m, c});
      backward(over_x, also_over_dy, over_x, also_over_dy);
    } else {
      backward(over_x, dy.view({m, c}), over_x, {});
    }
  });
  Vec output = y.wide(), d = dy.wide();
  if (form.mask == Mask::by_x) {
    output = batchnorm(x.wide(), widen(mean), widen(rstd), w.wide(), b.wide());
    check_away_from_zero(output);
  }
  if (form.mask != Mask::none) d = where_above_zero(output, d);
  LayerNormGrads want = batchnorm_grads(d, x.wide(), w.wide(), widen(mean), widen(rstd));
  const Vec old_w = before_w.wide(), old_b = before_b.wide();
  for (size_t i = 0; accumulate && i < old_w.size(); ++i) want.dw[i] += old_w[i], want.db[i] += old_b[i];
  const Floats dx = got.values(0, type);
  check_close(dx, want.dx, 1e-6, 2.0 * largest(widen(rstd)), type);
  const bool in_place_alike = got.values(1, type) == dx && got.values(2, type) == dx;
  CHECK(in_place_alike);  // not the many values
  const size_t dw = form.residual ? 5 : 3;
  check_close(got.values(dw, grad), want.dw, 1e-6, std::sqrt(double(m)), grad);
  check_close(got.values(dw + 1, grad), want.db, 1e-6, std::sqrt(double(m)), grad);
  if (!form.residual) return;
  CHECK(widen(got.values(3, type)) == d);
  CHECK(got.values(4, type) == got.values(3, type));
  CHECK(got.values(5 + 3 + 3, type) == got.values(3, type));
}

TEST_CASE("batchnorm backward: all gradients, weights' written and added, and in place, at odd sizes") {
  for (const DType type : storage_types())
    for (const Size& size : kSizes)
      for (const bool accumulate : {false, true})
        for (const DType grad : grad_types(type, accumulate))
          check_backward(type, grad, size, accumulate, {Mask::none, false});
  check_backward(DType::f32, DType::f32, kManyRows, false, {Mask::none, false});
}

TEST_CASE("batchnorm backward: behind a ReLU, whose output is told by x or by y, and of a residual") {
  for (const DType type : storage_types())
    for (const Size& size : {Size{7, 33}, Size{129, 7}, Size{140, 64}})
      for (const Form& form : kForms) check_backward(type, DType::f32, size, false, form);
}

TEST_CASE("batchnorm backward: x and y tell the same, down to what f16 keeps as 0") {
  // Outputs of 2^-24 and 2^-25: the smallest number of f16, and one that it rounds to 0.
  const Stored x(DType::f16, {1.0f, 0.5f}), dy(DType::f16, {3.0f, 5.0f}), w(DType::f16, {0x1p-24f}),
      b(DType::f16, {0.0f});
  const Floats zero = {0.0f}, one = {1.0f};
  const Outputs got = in_every_setting([&](Run& run) {
    const BatchNormAffine affine = {
        .mean = view(zero, {1}), .rstd = view(one, {1}), .w = w.view({1}), .b = b.view({1})};
    const TensorView y = run.output({2, 1}, DType::f16), by_x = run.output({1}), by_y = run.output({1});
    batchnorm_apply(run.exec(), {.y = y, .x = x.view({2, 1}), .affine = affine, .relu = true});
    for (const bool use_y : {false, true})
      batchnorm_backward(run.exec(), {.dx = run.output({2, 1}, DType::f16),
                                      .dw = run.output({1}),
                                      .db = use_y ? by_y : by_x,
                                      .dy = dy.view({2, 1}),
                                      .x = x.view({2, 1}),
                                      .y = use_y ? y : TensorView{},
                                      .affine = affine,
                                      .workspace = run.output({batchnorm_workspace(2, 1) / 4}),
                                      .relu = true});
  });
  CHECK(got.values(0, DType::f16) == Floats{0x1p-24f, 0.0f});
  CHECK(got[1] == Floats{3.0f});
  CHECK(got[2] == Floats{3.0f});
}

}  // namespace
}  // namespace ddp::test
