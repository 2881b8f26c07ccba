// The deadline of a wait, with a clock that the test moves.
#include <catch2/catch.hpp>

#include "runtime/base/wait.h"

using namespace ddp;

namespace {
constexpr int64_t kMs = 1'000'000;
}

TEST_CASE("a deadline passes after the time of its policy") {
  Deadline deadline({.timeout_ms = 2500}, 0);
  CHECK(deadline.left_ns(900 * kMs) == 1600 * kMs);
  CHECK(deadline.left_ns(1800 * kMs) == 700 * kMs);
  CHECK(deadline.left_ns(2500 * kMs) == 0);
}

TEST_CASE("progress of a rank renews a deadline") {
  std::atomic<uint32_t> progress{7};
  Deadline deadline({.timeout_ms = 1000, .progress = &progress}, 0);
  CHECK(deadline.left_ns(900 * kMs) == 100 * kMs);
  ++progress;
  CHECK(deadline.left_ns(1800 * kMs) == 1000 * kMs);
  CHECK(deadline.left_ns(2800 * kMs) == 0);
}

TEST_CASE("a deadline does not count time in which the process was stopped") {
  Deadline deadline({.timeout_ms = 5000}, 0);
  CHECK(deadline.left_ns(600'000 * kMs) == 4000 * kMs);
}
