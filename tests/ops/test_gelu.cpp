#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "tests/ops/harness.h"

namespace ddp::test {
namespace {

constexpr double kTolerance = 2e-6;  // of each element: the exponent 2 u, up to 30, is itself rounded

// Values over the range where GELU bends, then extremes.
Floats inputs(int64_t n) {
  Floats x = randoms(1, n, 9.0f);
  const float extremes[] = {0.0f, -0.0f, 30.0f, -30.0f, 1e10f, -1e10f, 1e30f, -1e30f, 1e-30f};
  for (size_t i = 0; i < std::size(extremes) && i < x.size(); ++i) x[x.size() - 1 - i] = extremes[i];
  return x;
}

TEST_CASE("gelu forward: every element, to the last") {
  for (const int64_t n : {1, 7, 33, 1000, 40000}) {
    CAPTURE(n);
    const Floats x = inputs(n);
    const Outputs got =
        in_every_setting([&](Run& run) { gelu_forward(run.exec(), {.y = run.output({n}), .x = view(x, {n})}); });
    Vec want;
    for (float v : x) want.push_back(gelu(v));
    check_close(got[0], want, kTolerance, 1e-7);
  }
}

TEST_CASE("gelu backward: every element, to the last, and in place") {
  for (const int64_t n : {1, 7, 33, 1000, 40000}) {
    CAPTURE(n);
    const Floats x = inputs(n), dy = randoms(2, n);
    const Outputs got = in_every_setting([&](Run& run) {
      gelu_backward(run.exec(), {.dx = run.output({n}), .dy = view(dy, {n}), .x = view(x, {n})});
      const TensorView in_place = run.output(dy, {n});
      gelu_backward(run.exec(), {.dx = in_place, .dy = in_place, .x = view(x, {n})});
    });
    Vec want;
    for (size_t i = 0; i < x.size(); ++i)
      want.push_back(double(dy[i]) * (std::abs(x[i]) > 25.0f ? (x[i] > 0.0f) : gelu_slope(x[i])));
    check_close(got[0], want, kTolerance, 0.05);  // near its root the slope is a difference
    CHECK(got[0] == got[1]);
  }
}

TEST_CASE("gelu: NaN stays NaN") {
  const Floats x(3, std::numeric_limits<float>::quiet_NaN()), dy(3, 1.0f);
  const Outputs got = in_every_setting([&](Run& run) {
    gelu_forward(run.exec(), {.y = run.output(dy, {3}), .x = view(x, {3})});
    gelu_backward(run.exec(), {.dx = run.output(dy, {3}), .dy = view(dy, {3}), .x = view(x, {3})});
  });
  for (size_t output : {0, 1})
    for (float v : got[output]) CHECK(std::isnan(v));
}

}  // namespace
}  // namespace ddp::test
