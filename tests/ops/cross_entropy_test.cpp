#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "tests/ops/harness.h"

namespace ddp::test {
namespace {

Outputs run_op(const Stored& logits, const std::vector<int32_t>& targets, int64_t v, int64_t live, float scale,
               bool backward, const float* loss_scale = nullptr, float smoothing = 0.0f) {
  const auto m = int64_t(targets.size());
  return in_every_setting([&](Run& run) {
    cross_entropy(run.exec(), {.logits = run.output(logits, {m, v}),
                               .loss = run.output({m}),
                               .targets = view(targets, {m}),
                               .live_columns = live,
                               .scale = scale,
                               .loss_scale = loss_scale,
                               .backward = backward,
                               .label_smoothing = smoothing});
  });
}

struct Size {
  int64_t m, v, live;
};

void check(DType type, Size size, float smoothing) {
  const auto [m, v, live] = size;
  CAPTURE(dtype_name(type), m, v, live, smoothing);
  Floats values = randoms(1, m * v, 6.0f);
  for (int64_t row = 0; row < m; ++row)
    for (int64_t i = live; i < v; ++i) values[size_t(row * v + i)] = 6e4f;  // padding must not reach the softmax
  const Stored logits(type, values);
  std::vector<int32_t> targets;
  for (int64_t row = 0; row < m; ++row) targets.push_back(row % 5 == 3 ? -1 : int32_t(row * 7919 % live));
  const CrossEntropyOut want = cross_entropy(logits.wide(), targets, v, live, 0.25, double(smoothing));
  const Outputs got = run_op(logits, targets, v, live, 0.25f, true, nullptr, smoothing);
  check_close(got.values(0, type), want.dlogits, 2e-6, 0.05, type);  // at the target a difference of 1 * scale
  check_close(got[1], want.loss, 1e-6, 6.0);                         // a difference of numbers up to 6 + log V
  const Outputs loss_only = run_op(logits, targets, v, live, 0.25f, false, nullptr, smoothing);
  CHECK(loss_only.values(0, type) == logits.values());
  CHECK(loss_only[1] == got[1]);
}

const Size kSizes[] = {{1, 1, 1}, {7, 7, 5}, {33, 33, 33}, {5, 1000, 999}, {19, 5008, 5001}, {300, 256, 256}};

TEST_CASE("cross entropy: loss and gradient at odd sizes, with padding columns and ignored targets") {
  for (const DType type : storage_types())
    for (const Size& size : kSizes) check(type, size, 0.0f);
}

TEST_CASE("cross entropy: label smoothing takes from the target what it gives to every live column") {
  for (const DType type : storage_types())
    for (const Size& size : kSizes) check(type, size, 0.1f);
}

std::vector<int32_t> ranks_of(const Stored& logits, const std::vector<int32_t>& targets, int64_t v, int64_t live) {
  const auto m = int64_t(targets.size());
  return in_every_setting([&](Run& run) {
           cross_entropy(run.exec(), {.logits = run.output(logits, {m, v}),
                                      .loss = run.output({m}),
                                      .targets = view(targets, {m}),
                                      .live_columns = live,
                                      .backward = false,
                                      .ranks = run.output(std::vector<int32_t>(size_t(m), -7), {m})});
         })
      .as<int32_t>(2);
}

TEST_CASE("cross entropy ranks: the place of the target among the live columns, ties by the lower column") {
  for (const DType type : storage_types())
    for (const auto& [m, v, live] : kSizes) {
      CAPTURE(dtype_name(type), m, v, live);
      Floats values = randoms(1, m * v, 4.0f);
      for (float& x : values) x = std::round(x);  // many ties
      for (int64_t row = 0; row < m; ++row)
        for (int64_t i = live; i < v; ++i) values[size_t(row * v + i)] = 6e4f;
      std::vector<int32_t> targets, want;
      for (int64_t row = 0; row < m; ++row) {
        const int64_t target = row % 5 == 3 ? -1 : row * 7919 % live;
        const float* x = &values[size_t(row * v)];
        int32_t rank = target < 0 ? kNoRank : 0;
        for (int64_t i = 0; target >= 0 && i < live; ++i) rank += x[i] > x[target] || (x[i] == x[target] && i < target);
        targets.push_back(int32_t(target)), want.push_back(rank);
      }
      CHECK(ranks_of({type, values}, targets, v, live) == want);
    }
}

TEST_CASE("cross entropy ranks: a row with a NaN is never right, infinities have their place") {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const Floats values = {0.0f, NAN,  3.0f,       NAN,        1.0f,       0.0f,  // NaN elsewhere, NaN at the target
                         0.0f, 1.0f, -kInfinity, -kInfinity, -kInfinity, 2.0f};
  for (const DType type : storage_types())
    CHECK(ranks_of({type, values}, {2, 0, 2, 1}, 3, 3) == std::vector<int32_t>{kNoRank, kNoRank, 2, 2});
}

TEST_CASE("cross entropy: the loss scale is read on the device and multiplies the gradient, not the loss") {
  const Stored logits(DType::f32, randoms(1, 3 * 40, 6.0f));
  const std::vector<int32_t> targets = {0, 39, 7};
  const float loss_scale = 1024.0f;
  const Outputs plain = run_op(logits, targets, 40, 40, 0.25f, true),
                scaled = run_op(logits, targets, 40, 40, 0.25f, true, lend_to_device(&loss_scale));
  CHECK(scaled[1] == plain[1]);
  Floats want = plain[0];
  for (float& x : want) x *= loss_scale;  // a power of two: exact
  CHECK(scaled[0] == want);
}

TEST_CASE("cross entropy: logits of a thousand, rising and falling through the row") {
  const int64_t v = 6000;  // several spans: the running maximum moves, or is never touched again
  for (const float sign : {1.0f, -1.0f}) {
    Floats values(static_cast<size_t>(v));
    for (int64_t i = 0; i < v; ++i) values[size_t(i)] = sign * (float(i) / 3.0f - 1000.0f);
    const Stored logits(DType::f32, values);
    const std::vector<int32_t> targets = {4321};
    const CrossEntropyOut want = cross_entropy(logits.wide(), targets, v, v, 1.0);
    const Outputs got = run_op(logits, targets, v, v, 1.0f, true);
    check_close(got[1], want.loss, 2e-7, 1000.0);
    check_close(got[0], want.dlogits, 1e-4, 1e-6);  // the exponent's absolute rounding at 1000
  }
}

TEST_CASE("cross entropy: a NaN logit shows in the loss") {
  for (const size_t at : {size_t(0), size_t(5), size_t(32)}) {
    Floats logits = randoms(1, 33);
    logits[at] = std::nanf("");
    Run run;
    const std::vector<int32_t> targets = {2};
    cross_entropy(run.exec(), {.logits = run.output(logits, {1, 33}),
                               .loss = run.output(Floats(1, 0.0f), {1}),
                               .targets = view(targets, {1}),
                               .live_columns = 33});
    CHECK(std::isnan(Outputs(run.finish())[1][0]));
  }
}

TEST_CASE("cross entropy: a target beyond the live columns is an error", "[host-error]") {
  const std::vector<int32_t> targets = {5};
  Run run;
  cross_entropy(
      run.exec(),
      {.logits = run.output({1, 7}), .loss = run.output({1}), .targets = view(targets, {1}), .live_columns = 5});
  CHECK_THROWS_WITH(run.finish(), Catch::Matchers::Contains("target 5 of 5 classes"));
}

}  // namespace
}  // namespace ddp::test
