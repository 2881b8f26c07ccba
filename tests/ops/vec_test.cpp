#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "kernels/cpu/vec.h"

namespace ddp::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

double ulps(float got, double want) {
  const float near = float(std::abs(want));
  return std::abs(double(got) - want) / double(std::nextafter(near, kInfinity) - near);
}

TEST_CASE("vec: exp is within 2 ulp over its normal range") {
  double worst = 0.0;
  for (float x = -87.3f; x < 88.7f; x += 0.00137f)
    worst = std::max(worst, ulps(expv(splat(x))[3], std::exp(double(x))));
  CHECK(worst < 2.0);
}

TEST_CASE("vec: exp at its extremes") {
  CHECK(expv(splat(-kInfinity))[0] == 0.0f);
  CHECK(expv(splat(-1e30f))[0] == 0.0f);
  CHECK(expv(splat(kInfinity))[0] == kInfinity);
  CHECK(expv(splat(88.8f))[0] == kInfinity);
  CHECK(expv(splat(88.7f))[0] < kInfinity);
  CHECK(expv(splat(0.0f))[0] == 1.0f);
  CHECK(expv(splat(-100.0f))[0] == Approx(std::exp(-100.0)).margin(2e-45));  // a subnormal
  CHECK(std::isnan(expv(splat(std::nanf("")))[0]));
}

TEST_CASE("vec: log is within 2 ulp for normal numbers") {
  double worst = 0.0;
  for (double x = 1.2e-38; x < 3.4e38; x *= 1.0013)
    worst = std::max(worst, ulps(logv(splat(float(x)))[5], std::log(double(float(x)))));
  for (float x = 0.9f; x < 1.1f; x += 1e-5f) worst = std::max(worst, ulps(logv(splat(x))[5], std::log(double(x))));
  CHECK(worst < 2.0);
  CHECK(logv(splat(1.0f))[0] == 0.0f);
  CHECK(logv(splat(kInfinity))[0] == kInfinity);
  CHECK(std::isnan(logv(splat(std::nanf("")))[0]));
}

TEST_CASE("vec: square root rounds correctly") {
  for (float x : {0.0f, 1.0f, 2.0f, 3e-30f, 7e37f}) CHECK(sqrtv(splat(x))[9] == std::sqrt(x));
}

TEST_CASE("vec: a tail loads and stores its elements only") {
  float from[20], to[20];
  for (int i = 0; i < 20; ++i) from[i] = float(i + 1), to[i] = -1.0f;
  const v16 x = load(from, 5, 9.0f);
  for (int i = 0; i < kVecWidth; ++i) CHECK(x[i] == (i < 5 ? float(i + 1) : 9.0f));
  store(to, x, 5);
  for (int i = 0; i < 20; ++i) CHECK(to[i] == (i < 5 ? float(i + 1) : -1.0f));
  CHECK(load(from, 17)[15] == 16.0f);
}

TEST_CASE("vec: horizontal sums and maxima see every lane") {
  for (int lane = 0; lane < kVecWidth; ++lane) {
    v16 x{};
    x[lane] = 3.0f;
    CHECK(sum(x) == 3.0f);
    CHECK(max(x - 1.0f) == 2.0f);
    CHECK(sum(low_half(x)) + sum(high_half(x)) == 3.0);
  }
}

TEST_CASE("vec: transpose swaps rows and columns") {
  v16 x[kVecWidth];
  for (int i = 0; i < kVecWidth; ++i)
    for (int j = 0; j < kVecWidth; ++j) x[i][j] = float(100 * i + j);
  transpose(x);
  for (int i = 0; i < kVecWidth; ++i)
    for (int j = 0; j < kVecWidth; ++j) CHECK(x[i][j] == float(100 * j + i));
}

TEST_CASE("vec: sixteen Philox counters give the scalar generator's words") {
  v16u c0, c1;
  for (int i = 0; i < kVecWidth; ++i) c0[i] = 0xfffffff0u + 3u * uint32_t(i), c1[i] = 77u * uint32_t(i);
  const Philox16 got = philox(0xdeadbeefu, 12u, c0, c1, 0x80000001u, 5u);
  for (int i = 0; i < kVecWidth; ++i) {
    const Philox4 want = ddp::philox(0xdeadbeefu, 12u, c0[i], c1[i], 0x80000001u, 5u);
    for (int w = 0; w < 4; ++w) CHECK(got.word[w][i] == want.word[w]);
  }
}

}  // namespace
}  // namespace ddp::cpu
