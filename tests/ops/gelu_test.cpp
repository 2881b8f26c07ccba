#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "tests/ops/harness.h"

namespace ddp::test {
namespace {

constexpr double kTolerance = 2e-6;  // of each element: the exponent 2 u, up to 30, is itself rounded

// Values over the range where GELU bends, then extremes of the type.
Stored inputs(DType type, int64_t n) {
  Floats x = randoms(1, n, 9.0f);
  const float huge = type == DType::f16 ? 6e4f : 1e30f;
  const float extremes[] = {0.0f, -0.0f, 30.0f, -30.0f, 1e4f, -1e4f, huge, -huge, 1e-30f};
  for (size_t i = 0; i < std::size(extremes) && i < x.size(); ++i) x[x.size() - 1 - i] = extremes[i];
  return {type, x};
}

TEST_CASE("gelu forward: every element, to the last") {
  const GeluForm form = GENERATE(GeluForm::tanh, GeluForm::erf);
  for (const DType type : storage_types()) {
    for (const int64_t n : {1, 7, 33, 1000, 40000}) {
      CAPTURE(dtype_name(type), n, int(form));
      const Stored x = inputs(type, n);
      const Outputs got = in_every_setting([&](Run& run) {
        gelu_forward(run.exec(), {.y = run.output({n}, type), .x = x.view({n}), .form = form});
        const TensorView in_place = run.output(x, {n});
        gelu_forward(run.exec(), {.y = in_place, .x = in_place, .form = form});
      });
      Vec want;
      for (double v : x.wide()) want.push_back(gelu(v, form));
      check_close(got.values(0, type), want, kTolerance, 1e-7, type);
      CHECK(got.values(0, type) == got.values(1, type));
    }
  }
}

TEST_CASE("gelu backward: every element, to the last, and in place") {
  const GeluForm form = GENERATE(GeluForm::tanh, GeluForm::erf);
  for (const DType type : storage_types()) {
    for (const int64_t n : {1, 7, 33, 1000, 40000}) {
      CAPTURE(dtype_name(type), n, int(form));
      const Stored x = inputs(type, n), dy(type, randoms(2, n));
      const Outputs got = in_every_setting([&](Run& run) {
        gelu_backward(run.exec(), {.dx = run.output({n}, type), .dy = dy.view({n}), .x = x.view({n}), .form = form});
        const TensorView in_place = run.output(dy, {n});
        gelu_backward(run.exec(), {.dx = in_place, .dy = in_place, .x = x.view({n}), .form = form});
      });
      Vec want;
      const Vec wide_x = x.wide(), wide_dy = dy.wide();
      for (size_t i = 0; i < wide_x.size(); ++i)
        want.push_back(wide_dy[i] * (std::abs(wide_x[i]) > 25.0 ? (wide_x[i] > 0.0) : gelu_slope(wide_x[i], form)));
      check_close(got.values(0, type), want, kTolerance, 0.05, type);  // near its root the slope is a difference
      CHECK(got.values(0, type) == got.values(1, type));
    }
  }
}

TEST_CASE("gelu: NaN stays NaN") {
  const GeluForm form = GENERATE(GeluForm::tanh, GeluForm::erf);
  for (const DType type : storage_types()) {
    const Stored x(type, Floats(3, std::numeric_limits<float>::quiet_NaN())), dy(type, Floats(3, 1.0f));
    const Outputs got = in_every_setting([&](Run& run) {
      gelu_forward(run.exec(), {.y = run.output(dy, {3}), .x = x.view({3}), .form = form});
      gelu_backward(run.exec(), {.dx = run.output(dy, {3}), .dy = dy.view({3}), .x = x.view({3}), .form = form});
    });
    for (const size_t output : {0, 1})
      for (float v : got.values(output, type)) CHECK(std::isnan(v));
  }
}

}  // namespace
}  // namespace ddp::test
