// Convolutions in device memory against loops in double, by the plans that the simulated cuDNN leaves.
#include <catch2/catch.hpp>

#include "tests/cuda_sim/convolution/captured_output.h"
#include "tests/cuda_sim/on_device.h"

using namespace ddp;
using namespace ddp::test;

namespace {

struct Case : ConvolutionSize {
  Shape x() const { return {n, h, w, c}; }
  Shape filter() const { return {k, r, s, c}; }
  Shape y() const { return {n, p(), q(), k}; }
};
const Case kCases[] = {{{1, 1, 1, 1, 1, 1, 1}},
                       {{2, 5, 7, 3, 4, 3, 3, {.stride = 1, .padding = 1}}},
                       {{3, 9, 6, 7, 5, 3, 2, {.stride = 2, .padding = 1}}},
                       {{1, 15, 15, 8, 33, 7, 7, {.stride = 2, .padding = 3}}},
                       {{2, 4, 4, 5, 1, 1, 1, {.stride = 3}}},
                       {{2, 6, 5, 16, 16, 2, 4, {.stride = 1, .padding = 2}}}};

// Of sums of so many terms up to 1, in f32.
void check_sums(OnDevice& got, const Vec& want, int64_t terms, DType type) {
  check_close(got.download(), want, 1.2e-7 * (2.0 + std::sqrt(double(terms))), std::sqrt(double(terms)), type);
}

}  // namespace

TEST_CASE("cuDNN: the three convolutions are those of loops in double") {
  Gpu gpu;
  for (const DType type : storage_types())
    for (const Case& c : kCases) {
      CAPTURE(dtype_name(type), c.x().text(), c.filter().text(), c.window.stride, c.window.padding);
      OnDevice x(gpu, {type, randoms(1, c.x().numel())}, c.x());
      OnDevice w(gpu, {type, randoms(2, c.filter().numel())}, c.filter());
      OnDevice dy(gpu, {type, randoms(3, c.y().numel())}, c.y());
      OnDevice y(gpu, {type, poison(c.y().numel())}, c.y()), dx(gpu, {type, poison(c.x().numel())}, c.x());
      OnDevice dw(gpu, {type, poison(c.filter().numel())}, c.filter());
      convolution_forward(gpu.exec, {.y = y.view(), .x = x.view(), .w = w.view(), .window = c.window});
      convolution_backward_input(gpu.exec, {.dx = dx.view(), .dy = dy.view(), .w = w.view(), .window = c.window});
      convolution_backward_weight(gpu.exec, {.dw = dw.view(), .x = x.view(), .dy = dy.view(), .window = c.window});

      const Vec x_values = x.before(), w_values = w.before(), dy_values = dy.before();
      check_sums(y, convolution(x_values, w_values, c), c.r * c.s * c.c, type);
      check_sums(dx, convolution_dx(dy_values, w_values, c), c.r * c.s * c.k, type);
      check_sums(dw, convolution_dw(dy_values, x_values, c), c.y().numel() / c.k, type);
    }
}

TEST_CASE("cuDNN: tf32 rounds the factors of f32 convolutions, and those of no other") {
  Gpu gpu;
  const Case& c = kCases[1];
  for (const DType type : storage_types()) {
    CAPTURE(dtype_name(type));
    OnDevice x(gpu, {type, randoms(1, c.x().numel())}, c.x());
    OnDevice w(gpu, {type, randoms(2, c.filter().numel())}, c.filter());
    const auto convolve = [&](bool tf32) {
      OnDevice y(gpu, {type, poison(c.y().numel())}, c.y());
      gpu.exec.table = &cuda_op_table(tf32);
      convolution_forward(gpu.exec, {.y = y.view(), .x = x.view(), .w = w.view(), .window = c.window});
      return y.download();
    };
    CHECK((convolve(false) == convolve(true)) == (type != DType::f32));
  }
}

TEST_CASE("cuDNN: a plan is made once for a shape, and noted; operands of another alignment have one of their own") {
  Gpu gpu;
  const Case c = {{1, 3, 11, 2, 3, 3, 3, {.stride = 1, .padding = 1}}};  // of no other test
  OnDevice x(gpu, {DType::f16, randoms(1, c.x().numel() + 1)}, {c.x().numel() + 1});
  OnDevice w(gpu, {DType::f16, randoms(2, c.filter().numel())}, c.filter());
  OnDevice y(gpu, {DType::f16, poison(c.y().numel())}, c.y());
  const auto notes_of = [&](int64_t offset) {
    const CapturedOutput output;
    convolution_forward(
        gpu.exec,
        {.y = y.view(), .x = x.view().slice(offset, c.x().numel()).view(c.x()), .w = w.view(), .window = c.window});
    gpu.synchronize();  // a plan for other operands is reported
    return output.text();
  };
  const std::string note = notes_of(0);
  CHECK_THAT(note, Catch::Contains("convolution_forward of [1, 3, 11, 2] by [3, 3, 3, 2], stride 1, padding 1, in f16: "
                                   "engine 5, 1024 bytes of workspace, 4 passed over\n"));
  CHECK(std::count(note.begin(), note.end(), '\n') == 1);
  CHECK(notes_of(0).empty());
  CHECK_FALSE(notes_of(1).empty());
}

TEST_CASE("cuDNN: a captured convolution runs at each launch") {
  Gpu gpu;
  const Case& c = kCases[2];
  OnDevice x(gpu, {DType::f32, randoms(1, c.x().numel())}, c.x());
  OnDevice w(gpu, {DType::f32, randoms(2, c.filter().numel())}, c.filter());
  OnDevice y(gpu, {DType::f32, poison(c.y().numel())}, c.y());
  const auto convolve = [&] {
    convolution_forward(gpu.exec, {.y = y.view(), .x = x.view(), .w = w.view(), .window = c.window});
  };
  convolve();
  const Floats eager = y.download();
  Graph graph(gpu.stream, convolve);
  gpu.stream.zero(y.view());
  graph.launch(gpu.stream);
  CHECK(y.download() == eager);
}

TEST_CASE("a convolution on a device without cuDNN is a bug", "[no-cudnn]") {
  const std::unique_ptr<Device> device = make_cuda_device({.workspace_bytes = 1});
  Stream stream(*device, StreamRole::compute);
  const Exec exec{.table = &test_op_table(), .stream = &stream};
  const Stored one(DType::f32, {1.0f});
  const TensorView view = one.view({1, 1, 1, 1});
  CHECK_THROWS_WITH(convolution_forward(exec, {.y = view, .x = view, .w = view}), Catch::Contains("convolves"));
}
