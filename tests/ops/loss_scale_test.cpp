// The loss scale's state machine as step_finalize runs it on the device, over many steps in a row, against closed forms
// of what a run of updates, or of skips, leads to.
#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <random>
#include <string>

#include "tests/ops/harness.h"

namespace ddp::test {
namespace {

struct Scaling {
  const char* name;
  int first, floor, cap;  // binary logarithms
  uint32_t interval;
  LossScaling rule() const {
    const bool is_static = floor == cap;
    return {.growth = is_static ? 1.0f : 2.0f,
            .backoff = is_static ? 1.0f : 0.5f,
            .floor = std::ldexp(1.0f, floor),
            .cap = std::ldexp(1.0f, cap),
            .interval = interval};
  }
};

constexpr double kSquares = 16.0;

// Runs a step for each outcome, right after one another; true: a gradient overflows.
std::vector<StepMetrics> run_steps(const Scaling& scaling, const std::vector<bool>& overflows) {
  const std::vector<double> finite = {4.0, kSquares - 4.0}, infinite = {4.0, std::numeric_limits<double>::infinity()};
  const std::vector<double> sums = {1.0, 1.0, 0.0, 0.0, 0.0};  // a loss, and its one target
  const auto n = int64_t(overflows.size());
  std::vector<LearningRates> rates;  // that of the update after i is i
  uint32_t applied = 0;
  for (const bool overflow : overflows) {
    rates.push_back({.first_applied = applied, .rates = {float(applied), -1.0f}});
    applied += overflow ? 0 : 1;
  }
  StepScalars scalars;
  scalars.state.loss_scale = std::ldexp(1.0f, scaling.first);
  std::vector<StepMetrics> metrics(size_t(n), StepMetrics{});
  lend_to_device(metrics.data(), n);
  lend_to_device(rates.data(), n);
  StepFinalize args{.scalars = lend_to_device(&scalars),
                    .partials = {},
                    .sums = view(sums, {kFirstMark}),
                    .num_ranks = 0,
                    .rule = {.clip_norm = 0.0, .scaling = scaling.rule()}};
  const TensorView partials[2] = {view(finite, {2}), view(infinite, {2})};
  Run run;
  for (int64_t i = 0; i < n; ++i) {
    args.metrics = &metrics[size_t(i)];
    args.rates = &rates[size_t(i)];
    args.partials = partials[overflows[size_t(i)]];
    step_finalize(run.exec(), args);
  }
  run.finish();
  return metrics;
}

// In a run of k like outcomes that began with the scale at 2^e: updates raise it every `interval`, skips lower it at
// once and, at the floor, count.
void check_against_runs(const Scaling& scaling, const std::vector<bool>& overflows) {
  const std::vector<StepMetrics> got = run_steps(scaling, overflows);
  int64_t applied = 0, k = 0, e = scaling.first, exponent = scaling.first;
  for (size_t i = 0; i < overflows.size(); ++i) {
    const bool skipped = overflows[i];
    if (i > 0 && skipped != overflows[i - 1]) e = exponent, k = 0;
    ++k;
    const int64_t before = exponent;
    exponent =
        skipped ? std::max<int64_t>(scaling.floor, e - k) : std::min<int64_t>(scaling.cap, e + k / scaling.interval);
    const StepMetrics& m = got[i];
    const bool as_expected =
        m.step() == i + 1 && (m.update == kNotFinite) == skipped && m.lr == float(applied) &&
        m.next.applied_steps == (skipped ? applied : applied + 1) && m.loss_scale == std::ldexp(1.0, int(before)) &&
        m.next.loss_scale == std::ldexp(1.0, int(exponent)) &&
        m.next.growth_count == (skipped ? 0 : k % scaling.interval) &&
        m.next.floor_skips == (skipped ? std::max<int64_t>(0, k - (e - scaling.floor)) : 0) &&
        (skipped ? !std::isfinite(m.grad_norm) : m.grad_norm == std::ldexp(std::sqrt(kSquares), -int(before)));
    if (!skipped) ++applied;
    if (!as_expected)
      FAIL(scaling.name << ": step " << i + 1 << ", number " << k << " of its run from 2^" << e << ": scale "
                        << m.loss_scale << " -> " << m.next.loss_scale << ", growth count " << m.next.growth_count
                        << ", floor skips " << m.next.floor_skips << ", applied " << m.next.applied_steps << ", lr "
                        << m.lr);
  }
}

TEST_CASE("step_finalize: the loss scale follows 100,000 random outcomes, to cap and floor", "[many-steps]") {
  constexpr int kSteps = 25'000;  // of each scaling
  const Scaling kScalings[] = {{"dynamic", 16, 0, 24, 20},
                               {"dynamic, every update", 3, 0, 5, 1},
                               {"static", 7, 7, 7, UINT32_MAX},
                               {"none", 0, 0, 0, UINT32_MAX}};
  std::mt19937 random(4);
  for (const Scaling& scaling : kScalings) {
    std::vector<bool> overflows;
    while (int(overflows.size()) < kSteps) {  // spells of few and of many overflows
      const uint32_t per_mille = std::array{0u, 5u, 300u, 900u}[random() % 4];
      for (int i = 0; i < 500; ++i) overflows.push_back(random() % 1000 < per_mille);
    }
    check_against_runs(scaling, overflows);
  }
}

// Scales as binary logarithms after each step: "." an update, "x" an overflow.
TEST_CASE("step_finalize: the loss scale by hand") {
  struct Case {
    const char* what;
    Scaling scaling;
    const char* outcomes;
    std::vector<int> scales;
    std::vector<uint32_t> floor_skips;
  };
  const Case kCases[] = {
      {"growth after the interval, and again",
       {"", 4, 0, 24, 3},
       ".......",
       {4, 4, 5, 5, 5, 6, 6},
       {0, 0, 0, 0, 0, 0, 0}},
      {"a skip starts the interval anew", {"", 4, 0, 24, 3}, "..x...", {4, 4, 3, 3, 3, 4}, {0, 0, 0, 0, 0, 0}},
      {"each overflow halves: no hysteresis", {"", 4, 0, 24, 3}, "xxx", {3, 2, 1}, {0, 0, 0}},
      {"the cap holds", {"", 4, 0, 5, 1}, "...", {5, 5, 5}, {0, 0, 0}},
      {"the floor holds, and skips there count", {"", 1, 0, 24, 3}, "xxxx.x", {0, 0, 0, 0, 0, 0}, {0, 1, 2, 3, 0, 1}},
      {"a static scale counts every skip", {"", 7, 7, 7, 3}, "xx.x", {7, 7, 7, 7}, {1, 2, 0, 1}},
  };
  for (const Case& c : kCases) {
    INFO(c.what);
    std::vector<bool> overflows;
    for (const char* o = c.outcomes; *o != '\0'; ++o) overflows.push_back(*o == 'x');
    std::vector<int> scales;
    std::vector<uint32_t> floor_skips;
    for (const StepMetrics& m : run_steps(c.scaling, overflows)) {
      scales.push_back(std::ilogb(m.next.loss_scale));
      floor_skips.push_back(m.next.floor_skips);
    }
    CHECK(scales == c.scales);
    CHECK(floor_skips == c.floor_skips);
  }
}

TEST_CASE("step_finalize: the first rank whose own gradients overflow is named, else the chunk of the sum") {
  const auto blame = [](const std::vector<double>& marks) {
    const std::vector<double> partials = {1.0, 1.0, std::nan("")};
    std::vector<double> sums = {1.0, 1.0, 0.0, 0.0, 0.0};
    sums.insert(sums.end(), marks.begin(), marks.end());
    const LearningRates rates;
    StepScalars scalars;
    StepMetrics metrics{};
    Run run;
    step_finalize(run.exec(), {.scalars = lend_to_device(&scalars),
                               .metrics = lend_to_device(&metrics),
                               .partials = view(partials, {3}),
                               .sums = view(sums, {int64_t(sums.size())}),
                               .num_ranks = int64_t(marks.size()),
                               .rates = lend_to_device(&rates)});
    run.finish();
    return std::pair(metrics.bad_rank, metrics.bad_chunk);
  };
  CHECK(blame({0, 0, 2, 1}) == std::pair<int64_t, int64_t>(2, 1));
  CHECK(blame({3, 0}) == std::pair<int64_t, int64_t>(0, 2));
  CHECK(blame({0, 0}) == std::pair<int64_t, int64_t>(-1, 2));
  CHECK(blame({}) == std::pair<int64_t, int64_t>(-1, 2));
}

}  // namespace
}  // namespace ddp::test
