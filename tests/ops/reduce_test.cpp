#include <bit>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <numeric>

#include "tests/ops/harness.h"

namespace ddp::test {
namespace {

TEST_CASE("add_into: 16 bits into f32 are exact to the rounding of the sum") {
  for (const DType type : storage_types())
    for (const int64_t n : {1, 7, 33, 1000, 70001}) {
      CAPTURE(dtype_name(type), n);
      const Stored x(type, randoms(1, n));
      const Floats y = randoms(2, n), wide = x.values();
      const Outputs got =
          in_every_setting([&](Run& run) { add_into(run.exec(), {.y = run.output(y, {n}), .x = x.view({n})}); });
      Floats want = y;
      for (size_t i = 0; i < want.size(); ++i) want[i] += wide[i];
      CHECK(got[0] == want);
    }
}

TEST_CASE("add_into: within 16 bits the sum is rounded once") {
  for (const DType type : storage_types())
    for (const int64_t n : {1, 7, 33, 1000, 70001}) {
      CAPTURE(dtype_name(type), n);
      const Stored x(type, randoms(1, n)), y(type, randoms(2, n));
      const Outputs got =
          in_every_setting([&](Run& run) { add_into(run.exec(), {.y = run.output(y, {n}), .x = x.view({n})}); });
      Floats want = y.values();
      const Floats more = x.values();
      for (size_t i = 0; i < want.size(); ++i) want[i] += more[i];
      CHECK(got.values(0, type) == Stored(type, want).values());
    }
}

TEST_CASE("add_into: exact in f32 and f64, over more than one block") {
  for (const int64_t n : {1, 7, 33, 1000, 70001}) {
    const Floats x = randoms(1, n), y = randoms(2, n);
    const std::vector<double> xd(x.begin(), x.end()), yd(y.begin(), y.end());
    const Outputs got = in_every_setting([&](Run& run) {
      add_into(run.exec(), {.y = run.output(y, {n}), .x = view(x, {n})});
      add_into(run.exec(), {.y = run.output(yd, {n}), .x = view(xd, {n})});
    });
    const Floats sums = got[0];
    const std::vector<double> sums_d = got.as<double>(1);
    int64_t wrong = 0;
    for (size_t i = 0; i < x.size(); ++i) wrong += sums[i] != x[i] + y[i] || sums_d[i] != xd[i] + yd[i];
    CHECK(wrong == 0);
  }
}

// Chunks that begin anywhere in a larger flat buffer, one of them empty.
const std::vector<int64_t> kChunks = {640, 641, 648, 648, 1000, 17384, 17400, 17500, 17501};

TEST_CASE("sum_squares: each chunk by itself, in double") {
  const int64_t chunks = int64_t(kChunks.size()) - 1, n = kChunks.back() - kChunks.front();
  for (const DType type : storage_types()) {
    CAPTURE(dtype_name(type));
    Floats values = randoms(1, n, 3.0f);
    values[7] = type == DType::f16 ? 6e4f : 1e30f;  // its square is beyond the type
    const Stored x(type, values);
    const Outputs got = in_every_setting([&](Run& run) {
      sum_squares(run.exec(), {.partials = run.output(std::vector<double>(size_t(chunks), NAN), {chunks}),
                               .x = x.view({n}),
                               .chunk_begin = view(kChunks, {chunks + 1})});
    });
    const Vec wide = x.wide();
    for (size_t s = 0; s < size_t(chunks); ++s) {
      double want = 0.0;
      for (int64_t i = kChunks[s] - kChunks[0]; i < kChunks[s + 1] - kChunks[0]; ++i)
        want += wide[size_t(i)] * wide[size_t(i)];
      CHECK(got.as<double>(0)[s] == Approx(want).epsilon(1e-12));
    }
  }
}

TEST_CASE("sum_squares: an infinity or NaN marks its chunk only") {
  const std::vector<int64_t> begin = {0, 20, 40, 60};
  for (const DType type : storage_types()) {
    for (const float bad : {std::numeric_limits<float>::infinity(), std::nanf("")}) {
      Floats values = randoms(1, 60);
      values[39] = bad;
      const Stored x(type, values);
      const Outputs got = in_every_setting([&](Run& run) {
        sum_squares(run.exec(), {.partials = run.output(std::vector<double>(3, 0.0), {3}),
                                 .x = x.view({60}),
                                 .chunk_begin = view(begin, {4})});
      });
      CHECK(std::isfinite(got.as<double>(0)[0]));
      CHECK_FALSE(std::isfinite(got.as<double>(0)[1]));
      CHECK(std::isfinite(got.as<double>(0)[2]));
    }
  }
}

// Everything that rounding can meet: ties, the ends of the subnormals and of the range, infinities, NaN.
Floats hard_to_round() {
  Floats x = {0.0f,
              1.0f,
              65504.0f,
              65519.996f,
              65520.0f,
              3.4e38f,
              0x1p-24f,
              0x1p-25f,
              0x1.8p-25f,
              6.1e-5f,
              0x1p-14f,
              0x1p-126f,
              0x1p-133f,
              0x1p-134f,
              0x1.8p-133f,
              0x1p-149f,
              std::numeric_limits<float>::infinity(),
              std::nanf("")};
  for (int i = 0; i < 64; ++i) {  // neighbours of ties in both types
    x.push_back(1.0f + float(i) * 0x1p-12f);
    x.push_back(std::nextafter(1.0f + float(i) * 0x1p-12f, 0.0f));
    x.push_back(1.0f + float(i) * 0x1p-9f);
    x.push_back(std::nextafter(1.0f + float(i) * 0x1p-9f, 2.0f));
  }
  for (float r : randoms(1, 1000)) x.push_back(r * std::exp2(300.0f * r));
  for (size_t i = 0, n = x.size(); i < n; ++i) x.push_back(-x[i]);
  return x;
}

// A NaN's bits but for its being one are the backend's own: GPUs have one NaN.
bool same_bits(float a, float b) {
  return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) || (std::isnan(a) && std::isnan(b));
}

TEST_CASE("cast: between all types, each value to its nearest, ties to even, bit for bit") {
  for (const DType from : storage_types())
    for (const DType to : storage_types()) {
      CAPTURE(dtype_name(from), dtype_name(to));
      const Stored x(from, hard_to_round()), want(to, x.values());
      for (const int64_t n : {int64_t(1), int64_t(7), int64_t(33), int64_t(x.values().size())}) {
        const Outputs got = in_every_setting([&](Run& run) {
          cast(run.exec(), {.y = run.output({n}, to), .x = x.view({int64_t(x.values().size())}).slice(0, n)});
        });
        const Floats values = got.values(0, to), expected = want.values();
        CHECK(std::equal(values.begin(), values.end(), expected.begin(), same_bits));
      }
    }
}

}  // namespace
}  // namespace ddp::test
