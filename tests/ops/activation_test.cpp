#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "tests/ops/harness.h"

namespace ddp::test {
namespace {

constexpr int64_t kSizes[] = {1, 7, 33, 1000, 40001};

// Values around zero, where tanh has a series of its own up to 0.625, then its tails and extremes of the type.
Stored inputs(DType type, int64_t n) {
  Floats x = randoms(1, n, 2.0f);
  for (size_t i = 0; i < x.size(); i += 3) x[i] *= 8.0f;
  const float huge = type == DType::f16 ? 6e4f : 1e30f;
  const float extremes[] = {0.0f, -0.0f, 0.625f, -0.625f, 30.0f, -30.0f, huge, -huge, 1e-30f};
  for (size_t i = 0; i < std::size(extremes) && i < x.size(); ++i) x[x.size() - 1 - i] = extremes[i];
  return {type, x};
}

TEST_CASE("relu: every element of both passes exactly, and in place") {
  for (const DType type : storage_types())
    for (const int64_t n : kSizes) {
      CAPTURE(dtype_name(type), n);
      const Stored x = inputs(type, n), dy(type, randoms(2, n));
      Floats y = x.values(), dx = dy.values();
      for (size_t i = 0; i < y.size(); ++i)
        if (!(y[i] > 0.0f)) y[i] = dx[i] = 0.0f;
      const Stored kept(type, y);
      const Outputs got = in_every_setting([&](Run& run) {
        relu_forward(run.exec(), {.y = run.output({n}, type), .x = x.view({n})});
        relu_backward(run.exec(), {.dx = run.output({n}, type), .dy = dy.view({n}), .y = kept.view({n})});
        const TensorView forward = run.output(x, {n}), backward = run.output(dy, {n});
        relu_forward(run.exec(), {.y = forward, .x = forward});
        relu_backward(run.exec(), {.dx = backward, .dy = backward, .y = kept.view({n})});
      });
      for (const size_t first : {size_t(0), size_t(2)}) {
        CHECK(got.values(first, type) == y);
        CHECK(got.values(first + 1, type) == dx);
      }
    }
}

TEST_CASE("tanh: every element of both passes, and in place") {
  for (const DType type : storage_types())
    for (const int64_t n : kSizes) {
      CAPTURE(dtype_name(type), n);
      const Stored x = inputs(type, n), dy(type, randoms(2, n));
      Vec y, dx;
      for (double v : x.wide()) y.push_back(std::tanh(v));
      const Stored kept(type, Floats(y.begin(), y.end()));
      const Vec wide_y = kept.wide(), wide_dy = dy.wide();
      for (size_t i = 0; i < wide_y.size(); ++i) dx.push_back(wide_dy[i] * (1.0 - wide_y[i] * wide_y[i]));
      const Outputs got = in_every_setting([&](Run& run) {
        tanh_forward(run.exec(), {.y = run.output({n}, type), .x = x.view({n})});
        tanh_backward(run.exec(), {.dx = run.output({n}, type), .dy = dy.view({n}), .y = kept.view({n})});
        const TensorView forward = run.output(x, {n}), backward = run.output(dy, {n});
        tanh_forward(run.exec(), {.y = forward, .x = forward});
        tanh_backward(run.exec(), {.dx = backward, .dy = backward, .y = kept.view({n})});
      });
      check_close(got.values(0, type), y, 4e-7, 1e-12, type);
      check_close(got.values(1, type), dx, 2e-7, 1.0, type);
      CHECK(got.values(2, type) == got.values(0, type));
      CHECK(got.values(3, type) == got.values(1, type));
    }
}

TEST_CASE("relu and tanh: NaN stays NaN") {
  for (const DType type : storage_types()) {
    const Stored x(type, Floats(3, std::nanf(""))), ones(type, Floats(3, 1.0f));
    const Outputs got = in_every_setting([&](Run& run) {
      relu_forward(run.exec(), {.y = run.output(ones, {3}), .x = x.view({3})});
      tanh_forward(run.exec(), {.y = run.output(ones, {3}), .x = x.view({3})});
      relu_backward(run.exec(), {.dx = run.output(ones, {3}), .dy = x.view({3}), .y = ones.view({3})});
      tanh_backward(run.exec(), {.dx = run.output(ones, {3}), .dy = ones.view({3}), .y = x.view({3})});
    });
    for (size_t output = 0; output < 4; ++output)
      for (float v : got.values(output, type)) CHECK(std::isnan(v));
  }
}

}  // namespace
}  // namespace ddp::test
