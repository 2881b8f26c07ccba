#include <catch2/catch.hpp>

#include "tests/ops/harness.h"

namespace ddp::test {
namespace {

constexpr float kEps = 1e-5f;
constexpr double kTolerance = 2e-6;  // of f32 sums over a row, relative to the largest term
const uint32_t kStep = 3;
const std::vector<int32_t> kSampleIds = {11, 4};

Dropout some_dropout(float p) {
  return {.p = p,
          .seed = 7,
          .site = 5,
          .step = lend_to_device(&kStep),
          .sample_ids = lend_to_device(kSampleIds.data(), int64_t(kSampleIds.size())),
          .num_samples = 2};
}

struct Size {
  int64_t m, c;
};
const Size kSizes[] = {{1, 1}, {2, 7}, {34, 33}, {70, 1000}, {130, 64}};

Vec add(Vec a, const Vec& b, const Vec& mask) {
  for (size_t i = 0; i < a.size(); ++i) a[i] += b[i] * (mask.empty() ? 1.0 : mask[i]);
  return a;
}

TEST_CASE("layernorm forward: residual, norm and statistics at odd sizes") {
  for (const auto [m, c] : kSizes) {
    for (const float p : {0.0f, 0.3f}) {
      if (p > 0.0f && m % 2 != 0) continue;
      CAPTURE(m, c, p);
      const Floats in = randoms(1, m * c, 2.0f), branch = randoms(2, m * c), w = randoms(3, c), b = randoms(4, c);
      const Dropout dropout = some_dropout(p);
      const Outputs got = in_every_setting([&](Run& run) {
        layernorm_forward(run.exec(), {.residual_out = run.output({m, c}),
                                       .y = run.output({m, c}),
                                       .mean = run.output({m}),
                                       .rstd = run.output({m}),
                                       .residual_in = view(in, {m, c}),
                                       .branch = view(branch, {m, c}),
                                       .w = view(w, {c}),
                                       .b = view(b, {c}),
                                       .eps = kEps,
                                       .dropout = dropout});
      });
      const Vec mask = p > 0.0f ? row_mask(dropout, 2, m / 2 * c) : Vec{};
      const Vec residual = add(widen(in), widen(branch), mask);
      check_close(got[0], residual, 1.2e-7, 2.0);
      // From the f32 residual: with few columns the norm amplifies its rounding.
      const LayerNormOut want = layernorm(widen(got[0]), widen(w), widen(b), kEps);
      check_close(got[1], want.y, c == 1 ? 1e-4 : kTolerance, 3.0);
      check_close(got[2], want.mean, kTolerance, 2.0);
      check_close(got[3], want.rstd, kTolerance, 1.0);
    }
  }
}

TEST_CASE("layernorm forward: the branch may be absent, and the residual may be updated in place") {
  const int64_t m = 33, c = 40;
  const Floats in = randoms(1, m * c), branch = randoms(2, m * c), w = randoms(3, c), b = randoms(4, c);
  const Outputs plain = in_every_setting([&](Run& run) {
    layernorm_forward(run.exec(), {.y = run.output({m, c}),
                                   .mean = run.output({m}),
                                   .rstd = run.output({m}),
                                   .residual_in = view(in, {m, c}),
                                   .w = view(w, {c}),
                                   .b = view(b, {c})});
  });
  check_close(plain[0], layernorm(widen(in), widen(w), widen(b), kEps).y, kTolerance, 3.0);

  const Outputs in_place = in_every_setting([&](Run& run) {
    const TensorView residual = run.output(in, {m, c});
    layernorm_forward(run.exec(), {.residual_out = residual,
                                   .y = run.output({m, c}),
                                   .mean = run.output({m}),
                                   .rstd = run.output({m}),
                                   .residual_in = residual,
                                   .branch = view(branch, {m, c}),
                                   .w = view(w, {c}),
                                   .b = view(b, {c})});
  });
  const Vec residual = add(widen(in), widen(branch), {});
  check_close(in_place[0], residual, 1.2e-7, 1.0);
  check_close(in_place[1], layernorm(residual, widen(w), widen(b), kEps).y, kTolerance, 3.0);
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

TEST_CASE("layernorm backward: all gradients, written and accumulated, at odd sizes") {
  for (const auto [m, c] : kSizes) {
    for (const bool accumulate : {false, true}) {
      for (const float p : {0.0f, 0.3f}) {
        if (p > 0.0f && m % 2 != 0) continue;
        CAPTURE(m, c, accumulate, p);
        const Floats dy = randoms(1, m * c), x = randoms(2, m * c, 2.0f), w = randoms(3, c);
        const Floats before = randoms(4, m * c), before_w = randoms(5, c), before_b = randoms(6, c);
        const LayerNormOut forward = layernorm(widen(x), widen(w), Vec(size_t(c), 0.0), kEps);
        const Floats mean(forward.mean.begin(), forward.mean.end()), rstd(forward.rstd.begin(), forward.rstd.end());
        const Dropout dropout = some_dropout(p);
        const Outputs got = in_every_setting([&](Run& run) {
          layernorm_backward(run.exec(), {.dresidual = run.output(accumulate ? before : poison(m * c), {m, c}),
                                          .dbranch = run.output({m, c}),
                                          .dw = run.output(accumulate ? before_w : poison(c), {c}),
                                          .db = run.output(accumulate ? before_b : poison(c), {c}),
                                          .dy = view(dy, {m, c}),
                                          .x = view(x, {m, c}),
                                          .mean = view(mean, {m}),
                                          .rstd = view(rstd, {m}),
                                          .w = view(w, {c}),
                                          .workspace = run.output({layernorm_workspace(m, c) / 4}),
                                          .accumulate_residual = accumulate,
                                          .accumulate = accumulate,
                                          .dropout = dropout});
        });
        LayerNormGrads want = layernorm_grads(widen(dy), widen(x), widen(w), kEps);
        const double dx_terms = 2.0 * largest(widen(rstd));
        if (accumulate) {
          want.dx = add(want.dx, widen(before), {});
          want.dw = add(want.dw, widen(before_w), {});
          want.db = add(want.db, widen(before_b), {});
        }
        check_close(got[0], want.dx, kTolerance, dx_terms);
        check_close(got[2], want.dw, kTolerance, 4.0 * std::sqrt(double(m)));
        check_close(got[3], want.db, kTolerance, 4.0 * std::sqrt(double(m)));
        // dbranch is exactly the mask of what dresidual became.
        const Vec mask = p > 0.0f ? row_mask(dropout, 2, m / 2 * c) : Vec(size_t(m * c), 1.0);
        const Floats dresidual = got[0], dbranch = got[1];
        for (size_t i = 0; i < dbranch.size(); ++i)
          if (dbranch[i] != dresidual[i] * float(mask[i])) FAIL("dbranch at " << i);
      }
    }
  }
}

}  // namespace
}  // namespace ddp::test
