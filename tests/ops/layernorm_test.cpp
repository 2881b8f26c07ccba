#include <catch2/catch.hpp>

#include "tests/ops/harness.h"

namespace ddp::test {
namespace {

constexpr float kEps = 1e-5f;
constexpr double kTolerance = 2e-6;  // of f32 sums over a row, relative to the largest term
const uint32_t kStep = 3;
const std::vector<int32_t> kSampleIds = {11, 4};

Dropout some_dropout(float p) { return lend_to_device({.p = p, .seed = 7, .site = 5}, kStep, kSampleIds); }

struct Size {
  int64_t m, c;
};
const Size kSizes[] = {{1, 1}, {2, 7}, {34, 33}, {70, 1000}, {130, 64}};

Vec add(Vec a, const Vec& b, const Vec& mask) {
  for (size_t i = 0; i < a.size(); ++i) a[i] += b[i] * (mask.empty() ? 1.0 : mask[i]);
  return a;
}

void check_forward(DType type, Size size, float p) {
  const auto [m, c] = size;
  CAPTURE(dtype_name(type), m, c, p);
  const Stored in(type, randoms(1, m * c, 2.0f)), branch(type, randoms(2, m * c)), w(type, randoms(3, c)),
      b(type, randoms(4, c));
  const Dropout dropout = some_dropout(p);
  const Outputs got = in_every_setting([&](Run& run) {
    layernorm_forward(run.exec(), {.residual_out = run.output({m, c}, type),
                                   .y = run.output({m, c}, type),
                                   .mean = run.output({m}),
                                   .rstd = run.output({m}),
                                   .residual_in = in.view({m, c}),
                                   .branch = branch.view({m, c}),
                                   .w = w.view({c}),
                                   .b = b.view({c}),
                                   .eps = kEps,
                                   .dropout = dropout});
  });
  const Vec mask = p > 0.0f ? row_mask(dropout, 2, m / 2 * c) : Vec{};
  const Floats residual = got.values(0, type);
  check_close(residual, add(in.wide(), branch.wide(), mask), 1.2e-7, 2.0, type);
  // The norm is of the residual as it is stored: with few columns it amplifies its rounding.
  const LayerNormOut want = layernorm(widen(residual), w.wide(), b.wide(), kEps);
  check_close(got.values(1, type), want.y, c == 1 ? 1e-4 : kTolerance, 3.0, type);
  check_close(got[2], want.mean, kTolerance, 2.0);
  check_close(got[3], want.rstd, kTolerance, 1.0);
}

TEST_CASE("layernorm forward: residual, norm and statistics at odd sizes") {
  for (const DType type : storage_types())
    for (const Size& size : kSizes)
      for (const float p : {0.0f, 0.3f})
        if (p == 0.0f || size.m % 2 == 0) check_forward(type, size, p);
}

TEST_CASE("layernorm forward: the branch may be absent, and the residual may be updated in place") {
  for (const DType type : storage_types()) {
    CAPTURE(dtype_name(type));
    const int64_t m = 33, c = 40;
    const Stored in(type, randoms(1, m * c)), branch(type, randoms(2, m * c)), w(type, randoms(3, c)),
        b(type, randoms(4, c));
    const Outputs plain = in_every_setting([&](Run& run) {
      layernorm_forward(run.exec(), {.y = run.output({m, c}, type),
                                     .mean = run.output({m}),
                                     .rstd = run.output({m}),
                                     .residual_in = in.view({m, c}),
                                     .w = w.view({c}),
                                     .b = b.view({c})});
    });
    check_close(plain.values(0, type), layernorm(in.wide(), w.wide(), b.wide(), kEps).y, kTolerance, 3.0, type);

    const Outputs in_place = in_every_setting([&](Run& run) {
      const TensorView residual = run.output(in, {m, c});
      layernorm_forward(run.exec(), {.residual_out = residual,
                                     .y = run.output({m, c}, type),
                                     .mean = run.output({m}),
                                     .rstd = run.output({m}),
                                     .residual_in = residual,
                                     .branch = branch.view({m, c}),
                                     .w = w.view({c}),
                                     .b = b.view({c})});
    });
    const Floats residual = in_place.values(0, type);
    check_close(residual, add(in.wide(), branch.wide(), {}), 1.2e-7, 1.0, type);
    check_close(in_place.values(1, type), layernorm(widen(residual), w.wide(), b.wide(), kEps).y, kTolerance, 3.0,
                type);
  }
}

TEST_CASE("layernorm: a row's bits do not depend on the rows around it") {
  const int64_t m = 37, c = 100, cut = 5;
  const Floats in = randoms(1, m * c), w = randoms(3, c), b = randoms(4, c);
  const auto norm = [&](int64_t first, int64_t rows) {
    return in_every_setting([&](Run& run) {
      layernorm_forward(run.exec(), {.y = run.output({rows, c}),
                                     .mean = run.output({rows}),
                                     .rstd = run.output({rows}),
                                     .residual_in = view(in, {m, c}).rows(first, rows),
                                     .w = view(w, {c}),
                                     .b = view(b, {c})});
    })[0];
  };
  const Floats whole = norm(0, m), tail = norm(cut, m - cut);
  CHECK(std::equal(tail.begin(), tail.end(), whole.begin() + cut * c));
}

TEST_CASE("layernorm dropout: the mask is the scalar definition bit for bit, at the expected rate") {
  const int64_t samples = 2, t = 65, c = GENERATE(333, 332), m = samples * t;
  const Dropout dropout = some_dropout(0.2f);
  const Floats zeros(size_t(m * c), 0.0f), ones(size_t(m * c), 1.0f), w(size_t(c), 1.0f);
  const Floats got = in_every_setting([&](Run& run) {
    layernorm_forward(run.exec(), {.residual_out = run.output({m, c}),
                                   .y = run.output({m, c}),
                                   .mean = run.output({m}),
                                   .rstd = run.output({m}),
                                   .residual_in = view(zeros, {m, c}),
                                   .branch = view(ones, {m, c}),
                                   .w = view(w, {c}),
                                   .b = view(w, {c}),
                                   .dropout = dropout});
  })[0];
  CHECK(widen(got) == row_mask(dropout, samples, t * c));
  const double kept = double(std::count_if(got.begin(), got.end(), [](float x) { return x != 0.0f; }));
  CHECK(kept / double(m * c) == Approx(0.8).margin(5 * std::sqrt(0.16 / double(m * c))));
}

void check_backward(DType type, DType grad, Size size, bool accumulate, float p) {
  const auto [m, c] = size;
  CAPTURE(dtype_name(type), dtype_name(grad), m, c, accumulate, p);
  const Stored dy(type, randoms(1, m * c)), x(type, randoms(2, m * c, 2.0f)), w(type, randoms(3, c));
  const Stored before(type, accumulate ? randoms(4, m * c) : poison(m * c)),
      before_w(grad, accumulate ? randoms(5, c) : poison(c)), before_b(grad, accumulate ? randoms(6, c) : poison(c));
  const LayerNormOut forward = layernorm(x.wide(), w.wide(), Vec(size_t(c), 0.0), kEps);
  const Floats mean(forward.mean.begin(), forward.mean.end()), rstd(forward.rstd.begin(), forward.rstd.end());
  const Dropout dropout = some_dropout(p);
  const Outputs got = in_every_setting([&](Run& run) {
    layernorm_backward(run.exec(), {.dresidual = run.output(before, {m, c}),
                                    .dbranch = run.output({m, c}, type),
                                    .dw = run.output(before_w, {c}),
                                    .db = run.output(before_b, {c}),
                                    .dy = dy.view({m, c}),
                                    .x = x.view({m, c}),
                                    .mean = view(mean, {m}),
                                    .rstd = view(rstd, {m}),
                                    .w = w.view({c}),
                                    .workspace = run.output({layernorm_workspace(m, c) / 4}),
                                    .accumulate_residual = accumulate,
                                    .accumulate = accumulate,
                                    .dropout = dropout});
  });
  LayerNormGrads want = layernorm_grads(dy.wide(), x.wide(), w.wide(), kEps);
  const double dx_terms = 2.0 * largest(widen(rstd));
  if (accumulate) {
    want.dx = add(want.dx, before.wide(), {});
    want.dw = add(want.dw, before_w.wide(), {});
    want.db = add(want.db, before_b.wide(), {});
  }
  const Floats dresidual = got.values(0, type), dbranch = got.values(1, type);
  check_close(dresidual, want.dx, kTolerance, dx_terms, type);
  check_close(got.values(2, grad), want.dw, kTolerance, 4.0 * std::sqrt(double(m)), grad);
  check_close(got.values(3, grad), want.db, kTolerance, 4.0 * std::sqrt(double(m)), grad);
  // dbranch is exactly the mask of what dresidual became.
  const Vec mask = p > 0.0f ? row_mask(dropout, 2, m / 2 * c) : Vec(size_t(m * c), 1.0);
  Floats masked;
  for (size_t i = 0; i < mask.size(); ++i) masked.push_back(dresidual[i] * float(mask[i]));
  CHECK(dbranch == Stored(type, masked).values());
}

TEST_CASE("layernorm backward: all gradients, written and accumulated, at odd sizes") {
  for (const DType type : storage_types())
    for (const Size& size : kSizes)
      for (const bool accumulate : {false, true})
        for (const DType grad : grad_types(type, accumulate))
          for (const float p : {0.0f, 0.3f})
            if (p == 0.0f || size.m % 2 == 0) check_backward(type, grad, size, accumulate, p);
}

}  // namespace
}  // namespace ddp::test
