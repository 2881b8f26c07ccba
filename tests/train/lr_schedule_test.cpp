#include "runtime/optim/lr_schedule.h"

#include <catch2/catch.hpp>

using namespace ddp;

TEST_CASE("the learning rate rises over the warm-up and ends at its minimum") {
  for (const char* name : {"cosine", "linear"}) {
    const ScheduleConfig s{.name = name, .warmup_steps = 4, .min_lr = 0.1};
    REQUIRE(learning_rate(s, 1.0, 20, 1) == Approx(0.25));
    REQUIRE(learning_rate(s, 1.0, 20, 4) == Approx(1.0));
    REQUIRE(learning_rate(s, 1.0, 20, 12) == Approx(0.55));  // half-way
    REQUIRE(learning_rate(s, 1.0, 20, 20) == Approx(0.1));
    for (int64_t t = 5; t <= 20; ++t) REQUIRE(learning_rate(s, 1.0, 20, t) < learning_rate(s, 1.0, 20, t - 1));
  }
  REQUIRE(learning_rate({.name = "constant", .warmup_steps = 0, .min_lr = 0}, 0.5, 10, 10) == 0.5);
  REQUIRE(learning_rate({.name = "cosine", .warmup_steps = 10, .min_lr = 0}, 0.5, 10, 10) == 0.5);
}

TEST_CASE("entry i of the table is the rate of step i + 1") {
  const ScheduleConfig s{.name = "cosine", .warmup_steps = 3, .min_lr = 0.0};
  const std::vector<float> table = learning_rate_table(s, 2e-3, 10);
  REQUIRE(table.size() == 10);
  for (int64_t t = 1; t <= 10; ++t) REQUIRE(table[size_t(t - 1)] == float(learning_rate(s, 2e-3, 10, t)));
}
