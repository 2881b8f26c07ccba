// Linear layers in device memory, in whichever form cuBLASLt has an algorithm for: the simulated heuristic is empty for
// what DDP_SIM_FAULT names (meson.build runs this once for each).
#include <catch2/catch.hpp>

#include "runtime/device/cuda_device.h"
#include "tests/ops/harness.h"

using namespace ddp;
using namespace ddp::test;

namespace {

struct Gpu {
  std::unique_ptr<Device> device = make_cuda_device({});
  Stream stream{*device, StreamRole::compute};
  Exec exec{.table = &test_op_table(), .stream = &stream};

  void synchronize() {
    Event done(*device);
    done.record(stream);
    done.synchronize({.timeout_ms = 60'000});
  }
};

// Host values and the device memory they go to and come from.
class Matrix {
 public:
  Matrix(Gpu& gpu, Floats values, const Shape& shape)
      : gpu_(gpu), values_(std::move(values)), memory_(*gpu.device, shape.numel()), shape_(shape) {
    gpu.device->copy(memory_.data(), values_.data(), shape.numel() * 4, gpu.stream.handle());
    gpu.synchronize();
  }
  TensorView view() { return {memory_.data(), DType::f32, shape_}; }
  const Floats& download() {
    gpu_.device->copy(values_.data(), memory_.data(), shape_.numel() * 4, gpu_.stream.handle());
    gpu_.synchronize();
    return values_;
  }

 private:
  Gpu& gpu_;
  Floats values_;
  Buffer<float> memory_;
  Shape shape_;
};

struct Size {
  int64_t m, k, n;
};
constexpr Size kSizes[] = {{1, 1, 1}, {1, 33, 7}, {7, 1, 33}, {33, 7, 1}, {65, 130, 100}};
constexpr double kTolerance = 3e-6;

}  // namespace

TEST_CASE("forms: y is x w + bias whatever the heuristic knows") {
  Gpu gpu;
  for (const auto [m, k, n] : kSizes)
    for (const bool transposed_w : {false, true}) {
      CAPTURE(m, k, n, transposed_w);
      const Shape w_shape = transposed_w ? Shape{n, k} : Shape{k, n};
      Matrix x(gpu, randoms(1, m * k), {m, k}), w(gpu, randoms(2, k * n), w_shape), bias(gpu, randoms(3, n), {n});
      Matrix y(gpu, poison(m * n), {m, n});
      linear_forward(gpu.exec,
                     {.y = y.view(), .x = x.view(), .w = w.view(), .bias = bias.view(), .w_transposed = transposed_w});
      const Vec b = widen(randoms(3, n)), wide = widen(randoms(2, k * n));
      Vec want = matmul(widen(randoms(1, m * k)), transposed_w ? transposed(wide, n, k) : wide, m, k, n);
      for (size_t i = 0; i < want.size(); ++i) want[i] += b[i % size_t(n)];
      check_close(y.download(), want, kTolerance, std::sqrt(double(k)));
    }
}

TEST_CASE("forms: a weight gradient is added to what was there") {
  Gpu gpu;
  for (const auto [m, k, n] : kSizes) {
    CAPTURE(m, k, n);
    Matrix x(gpu, randoms(1, m * k), {m, k}), dy(gpu, randoms(2, m * n), {m, n}), dw(gpu, randoms(3, k * n), {k, n});
    linear_backward_weight(gpu.exec, {.dw = dw.view(), .x = x.view(), .dy = dy.view(), .accumulate = true});
    Vec want = matmul(transposed(widen(randoms(1, m * k)), m, k), widen(randoms(2, m * n)), k, m, n);
    const Floats before = randoms(3, k * n);
    for (size_t i = 0; i < want.size(); ++i) want[i] += before[i];
    check_close(dw.download(), want, kTolerance, std::sqrt(double(m)));
  }
}

TEST_CASE("a product that cuBLASLt has no algorithm for is an error that names it", "[no-product]") {
  Gpu gpu;
  Matrix x(gpu, randoms(1, 15), {3, 5}), w(gpu, randoms(2, 35), {5, 7}), y(gpu, poison(21), {3, 7});
  const LinearForward product = {.y = y.view(), .x = x.view(), .w = w.view()};
  CHECK_THROWS_WITH(linear_forward(gpu.exec, product), "cuBLASLt knows no way to multiply 7 x 5 x 3");
}
