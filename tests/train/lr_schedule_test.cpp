#include "runtime/optim/lr_schedule.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

using namespace ddp;

TEST_CASE("the learning rate rises over the warm-up and ends at its minimum") {
  for (const ScheduleName name : {ScheduleName::cosine, ScheduleName::linear}) {
    const ScheduleConfig s{.name = name, .warmup_steps = 4, .min_lr = 0.1};
    REQUIRE(learning_rate(s, 1.0, 20, 1) == Approx(0.25));
    REQUIRE(learning_rate(s, 1.0, 20, 4) == Approx(1.0));
    REQUIRE(learning_rate(s, 1.0, 20, 12) == Approx(0.55));  // half-way
    REQUIRE(learning_rate(s, 1.0, 20, 20) == Approx(0.1));
    for (int64_t t = 5; t <= 20; ++t) REQUIRE(learning_rate(s, 1.0, 20, t) < learning_rate(s, 1.0, 20, t - 1));
  }
  REQUIRE(learning_rate({.name = ScheduleName::constant, .warmup_steps = 0, .min_lr = 0}, 0.5, 10, 10) == 0.5);
  REQUIRE(learning_rate({.name = ScheduleName::cosine, .warmup_steps = 10, .min_lr = 0}, 0.5, 10, 10) == 0.5);
}

TEST_CASE("polynomial is PyTorch's PolynomialLR between lr and min_lr, after the warm-up") {
  ScheduleConfig s;
  s.name = ScheduleName::polynomial;
  s.warmup_steps = 10;
  s.power = 3.0;
  REQUIRE(learning_rate(s, 1.0, 20, 5) == Approx(0.5));
  for (int64_t t = 10; t <= 20; ++t)
    REQUIRE(learning_rate(s, 1.0, 20, t) == Approx(std::pow(1.0 - double(t - 10) / 10, 3.0)).margin(1e-15));
  s.min_lr = 0.5;
  REQUIRE(learning_rate(s, 1.0, 20, 15) == Approx(0.5 + 0.5 * 0.125));
  s.power = 1.0;
  for (int64_t t = 1; t <= 20; ++t) {
    ScheduleConfig linear = s;
    linear.name = ScheduleName::linear;
    REQUIRE(learning_rate(s, 1.0, 20, t) == Approx(learning_rate(linear, 1.0, 20, t)));
  }
}

TEST_CASE("step multiplies the rate by gamma every step_size steps after the warm-up, not below min_lr") {
  ScheduleConfig s;
  s.name = ScheduleName::step;
  s.warmup_steps = 4;
  s.step_size = 5;
  s.gamma = 0.5;
  s.min_lr = 0.2;
  const double want[] = {0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.25, 0.2};
  for (int64_t t = 1; t <= 20; ++t) REQUIRE(learning_rate(s, 1.0, 20, t) == Approx(want[t - 1]));
}

TEST_CASE("a step is given the rates of the update after those that are known of, and of the one after it") {
  const ScheduleConfig s{.name = ScheduleName::cosine, .warmup_steps = 3, .min_lr = 0.0};
  const auto rate = [&](int64_t t) { return float(learning_rate(s, 2e-3, 10, t)); };
  for (uint32_t applied = 0; applied < 10; ++applied) {
    const LearningRates next = next_learning_rates(s, 2e-3, 10, applied);
    REQUIRE(*next.find(applied) == rate(applied + 1));
    REQUIRE(*next.find(applied + 1) == rate(std::min(10u, applied + 2)));
    REQUIRE(next.find(applied + 2) == nullptr);
    REQUIRE(next.find(applied - 1) == nullptr);
  }
}
