// Linear layers in device memory, in whichever form cuBLASLt has an algorithm for: the results of the simulated
// heuristic are none, or not valid, for what DDP_SIM_FAULT names (meson.build runs this once for each).
#include <catch2/catch.hpp>

#include "tests/cuda_sim/on_device.h"

using namespace ddp;
using namespace ddp::test;

namespace {

struct Size {
  int64_t m, k, n;
};
constexpr Size kSizes[] = {{1, 1, 1}, {1, 33, 7}, {7, 1, 33}, {33, 7, 1}, {65, 130, 100}};
constexpr double kTolerance = 3e-6;

TEST_CASE("forms: y is x w + bias whatever the heuristic knows") {
  Gpu gpu;
  for (const DType type : storage_types())
    for (const auto [m, k, n] : kSizes)
      for (const bool transposed_w : {false, true}) {
        CAPTURE(dtype_name(type), m, k, n, transposed_w);
        const Shape w_shape = transposed_w ? Shape{n, k} : Shape{k, n};
        OnDevice x(gpu, {type, randoms(1, m * k)}, {m, k}), w(gpu, {type, randoms(2, k * n)}, w_shape);
        OnDevice bias(gpu, {type, randoms(3, n)}, {n}), y(gpu, {type, poison(m * n)}, {m, n});
        linear_forward(
            gpu.exec, {.y = y.view(), .x = x.view(), .w = w.view(), .bias = bias.view(), .w_transposed = transposed_w});
        const Vec b = bias.before();
        Vec want = matmul(x.before(), transposed_w ? transposed(w.before(), n, k) : w.before(), m, k, n);
        for (size_t i = 0; i < want.size(); ++i) want[i] += b[i % size_t(n)];
        check_close(y.download(), want, kTolerance, std::sqrt(double(k)), type);
      }
}

// The simulated library reports an algorithm that is used for less aligned operands than it was chosen for.
TEST_CASE("forms: a bias that does not start on 16 bytes is not taken for one that does") {
  Gpu gpu;
  for (const DType type : storage_types()) {
    CAPTURE(dtype_name(type));
    constexpr int64_t kM = 3, kK = 8, kN = 16;
    OnDevice x(gpu, {type, randoms(1, kM * kK)}, {kM, kK}), w(gpu, {type, randoms(2, kK * kN)}, {kK, kN});
    OnDevice bias(gpu, {type, randoms(3, kN + 1)}, {kN + 1}), y(gpu, {type, poison(kM * kN)}, {kM, kN});
    for (const int64_t begin : {0, 1}) {
      linear_forward(gpu.exec, {.y = y.view(), .x = x.view(), .w = w.view(), .bias = bias.view().slice(begin, kN)});
      const Vec b = bias.before();
      Vec want = matmul(x.before(), w.before(), kM, kK, kN);
      for (size_t i = 0; i < want.size(); ++i) want[i] += b[size_t(begin) + i % size_t(kN)];
      check_close(y.download(), want, kTolerance, std::sqrt(double(kK)), type);
    }
  }
}

TEST_CASE("forms: a weight gradient is f32 and added to what was there, or of the storage type and written") {
  Gpu gpu;
  for (const DType type : storage_types())
    for (const bool accumulate : {false, true})
      for (const DType grad : grad_types(type, accumulate))
        for (const auto [m, k, n] : kSizes) {
          CAPTURE(dtype_name(type), dtype_name(grad), accumulate, m, k, n);
          OnDevice x(gpu, {type, randoms(1, m * k)}, {m, k}), dy(gpu, {type, randoms(2, m * n)}, {m, n});
          OnDevice dw(gpu, {grad, accumulate ? randoms(3, k * n) : poison(k * n)}, {k, n});
          linear_backward_weight(gpu.exec, {.dw = dw.view(), .x = x.view(), .dy = dy.view(), .accumulate = accumulate});
          Vec want = matmul(transposed(x.before(), m, k), dy.before(), k, m, n);
          for (size_t i = 0; accumulate && i < want.size(); ++i) want[i] += dw.before()[i];
          check_close(dw.download(), want, kTolerance, std::sqrt(double(m)), grad);
        }
}

// To 10 bits of mantissa beside the leading one.
Vec to_tf32(Vec values) {
  for (double& v : values) {
    int exponent = 0;
    const double fraction = std::frexp(v, &exponent);
    v = std::ldexp(std::round(std::ldexp(fraction, 11)), exponent - 11);
  }
  return values;
}

TEST_CASE("forms: tf32 rounds the factors of f32 products, and those of no other") {
  Gpu gpu;
  const int64_t m = 33, k = 130, n = 40;
  for (const DType type : storage_types()) {
    OnDevice x(gpu, {type, randoms(1, m * k)}, {m, k}), w(gpu, {type, randoms(2, k * n)}, {k, n});
    OnDevice y(gpu, {type, poison(m * n)}, {m, n});
    const auto product = [&](bool tf32) {
      gpu.exec.table = &cuda_op_table(tf32);
      linear_forward(gpu.exec, {.y = y.view(), .x = x.view(), .w = w.view()});
      return y.download();
    };
    const Floats exact = product(false), rounded = product(true);
    CHECK((exact == rounded) == (type != DType::f32));
    if (type == DType::f32)
      check_close(rounded, matmul(to_tf32(x.before()), to_tf32(w.before()), m, k, n), kTolerance, std::sqrt(double(k)));
  }
}

TEST_CASE("a product that cuBLASLt has no algorithm for is an error that names it", "[no-product]") {
  Gpu gpu;
  OnDevice x(gpu, {DType::f16, randoms(1, 15)}, {3, 5}), w(gpu, {DType::f16, randoms(2, 35)}, {5, 7});
  OnDevice y(gpu, {DType::f16, poison(21)}, {3, 7});
  const LinearForward product = {.y = y.view(), .x = x.view(), .w = w.view()};
  CHECK_THROWS_WITH(linear_forward(gpu.exec, product), "cuBLASLt knows no way to multiply 7 x 5 x 3 in f16");
}

}  // namespace
