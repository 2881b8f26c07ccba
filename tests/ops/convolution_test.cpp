#include <catch2/catch.hpp>
#include <cmath>

#include "tests/ops/harness.h"

namespace ddp::test {
namespace {

// Odd channels, windows larger than the image, strides that leave pixels out, images that are not square.
const ConvolutionSize kSizes[] = {
    {.n = 1, .h = 1, .w = 1, .c = 1, .k = 1, .r = 1, .s = 1},
    {.n = 3, .h = 9, .w = 6, .c = 1, .k = 7, .r = 3, .s = 3},
    {.n = 2, .h = 6, .w = 9, .c = 7, .k = 33, .r = 3, .s = 3, .window = {2, 1}},
    {.n = 1, .h = 5, .w = 8, .c = 33, .k = 1, .r = 3, .s = 3, .window = {1, 1}},
    {.n = 2, .h = 8, .w = 7, .c = 33, .k = 7, .r = 1, .s = 1, .window = {2, 0}},
    {.n = 3, .h = 11, .w = 14, .c = 3, .k = 8, .r = 7, .s = 7, .window = {2, 3}},
    {.n = 2, .h = 4, .w = 5, .c = 4, .k = 16, .r = 7, .s = 7, .window = {1, 3}},
    {.n = 5, .h = 7, .w = 7, .c = 16, .k = 32, .r = 3, .s = 3, .window = {1, 1}},
    {.n = 2, .h = 6, .w = 7, .c = 8, .k = 8, .r = 2, .s = 3, .window = {1, 2}},
    {.n = 2, .h = 6, .w = 7, .c = 33, .k = 40, .r = 2, .s = 3, .window = {1, 1}},
    {.n = 2, .h = 5, .w = 3, .c = 34, .k = 35, .r = 1, .s = 1},
    {.n = 2, .h = 5, .w = 4, .c = 48, .k = 17, .r = 3, .s = 2},
};

Shape x_shape(const ConvolutionSize& a) { return {a.n, a.h, a.w, a.c}; }
Shape w_shape(const ConvolutionSize& a) { return {a.k, a.r, a.s, a.c}; }
Shape y_shape(const ConvolutionSize& a) { return {a.n, a.p(), a.q(), a.k}; }

double tolerance(int64_t depth) {
  return 1.2e-7 * (2.0 + std::sqrt(double(depth)));
}  // f32 sums of `depth` terms up to 1

// Operands of all three ops.
struct Operands {
  Operands(DType type, const ConvolutionSize& size)
      : x(type, randoms(1, x_shape(size).numel())),
        w(type, randoms(2, w_shape(size).numel())),
        dy(type, randoms(3, y_shape(size).numel())) {}
  Stored x, w, dy;
};

// y, dx, dw in every setting.
Outputs all_three(const ConvolutionSize& a, const Operands& of) {
  const DType type = of.x.type();
  return in_every_setting([&](Run& run) {
    const TensorView x = of.x.view(x_shape(a)), w = of.w.view(w_shape(a)), dy = of.dy.view(y_shape(a));
    convolution_forward(run.exec(), {.y = run.output(y_shape(a), type), .x = x, .w = w, .window = a.window});
    convolution_backward_input(run.exec(), {.dx = run.output(x_shape(a), type), .dy = dy, .w = w, .window = a.window});
    convolution_backward_weight(run.exec(), {.dw = run.output(w_shape(a), type), .x = x, .dy = dy, .window = a.window});
  });
}

TEST_CASE("convolution: forward and both gradients") {
  for (const DType type : storage_types()) {
    for (const ConvolutionSize& a : kSizes) {
      CAPTURE(dtype_name(type), x_shape(a).text(), w_shape(a).text(), a.window.stride, a.window.padding);
      const Operands of(type, a);
      const Outputs got = all_three(a, of);
      const auto check = [&](size_t output, const Vec& want, int64_t depth) {
        check_close(got.values(output, type), want, tolerance(depth), std::sqrt(double(depth)), type);
      };
      const ConvolutionGrads grads = convolution_grads(of.dy.wide(), of.x.wide(), of.w.wide(), a);
      check(0, convolution(of.x.wide(), of.w.wide(), a), a.r * a.s * a.c);
      check(1, grads.dx, a.r * a.s * a.k);
      check(2, grads.dw, a.n * a.p() * a.q());
    }
  }
}

TEST_CASE("convolution: batches large enough to be cut, whose parts differ in size") {
  const ConvolutionSize a = {.n = 5, .h = 17, .w = 16, .c = 33, .k = 40, .r = 3, .s = 3, .window = {1, 1}};
  for (const DType type : storage_types()) {
    CAPTURE(dtype_name(type));
    const Operands of(type, a);
    const Outputs got = all_three(a, of);
    const Vec want = convolution_grads(of.dy.wide(), of.x.wide(), of.w.wide(), a).dw;
    const int64_t depth = a.n * a.p() * a.q();
    check_close(got.values(2, type), want, tolerance(depth), std::sqrt(double(depth)), type);
  }
}

TEST_CASE("convolution: an image's bits do not depend on the images around it") {
  const ConvolutionSize sizes[] = {{.n = 6, .h = 9, .w = 8, .c = 32, .k = 24, .r = 3, .s = 3, .window = {1, 1}},
                                   {.n = 6, .h = 12, .w = 15, .c = 4, .k = 16, .r = 7, .s = 7, .window = {2, 3}}};
  for (const DType type : storage_types()) {
    for (const ConvolutionSize& a : sizes) {
      CAPTURE(dtype_name(type), x_shape(a).text());
      const Operands of(type, a);
      const auto both = [&](int64_t first, int64_t n) {
        ConvolutionSize part = a;
        part.n = n;
        return in_every_setting([&](Run& run) {
          const TensorView x = of.x.view(x_shape(a)).rows(first, n), w = of.w.view(w_shape(a)),
                           dy = of.dy.view(y_shape(a)).rows(first, n);
          convolution_forward(run.exec(), {.y = run.output(y_shape(part), type), .x = x, .w = w, .window = a.window});
          convolution_backward_input(run.exec(),
                                     {.dx = run.output(x_shape(part), type), .dy = dy, .w = w, .window = a.window});
        });
      };
      const Outputs whole = both(0, a.n);
      for (const int64_t first : {1, 3, 5}) {
        const Outputs part = both(first, a.n - first);
        for (const size_t output : {size_t(0), size_t(1)}) {
          const Floats all = whole.values(output, type), tail = part.values(output, type);
          CHECK(std::equal(tail.begin(), tail.end(), all.end() - ptrdiff_t(tail.size())));
        }
      }
    }
  }
}

}  // namespace
}  // namespace ddp::test
