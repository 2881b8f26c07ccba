// Initial values: by the layout's declarations, drawn by saved element.
#include "runtime/state/init.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

using namespace ddp;

namespace {

std::vector<float> initial(const ParamLayout& layout, uint64_t seed = 3, int threads = 2) {
  std::vector<float> flat(static_cast<size_t>(layout.flat_elements()), 7.0f);
  ThreadPool pool({.num_threads = threads});
  init_params(layout, flat, seed, pool);
  return flat;
}

}  // namespace

TEST_CASE("constants and normal values are what the layout declares") {
  ParamLayout layout;
  layout.add("gain", {5}, false, Init::constant(1.0));
  layout.add("bias", {5}, false);
  layout.add("w", {300, 400}, true, Init::normal(0.25));
  const std::vector<float> flat = initial(layout);
  const auto values = [&](size_t i) {
    const Param& p = layout.params()[i];
    return std::vector<float>(flat.begin() + p.offset, flat.begin() + p.offset + p.numel);
  };
  CHECK(values(0) == std::vector<float>(5, 1.0f));
  CHECK(values(1) == std::vector<float>(5, 0.0f));
  double sum = 0, squares = 0;
  for (const float x : values(2)) sum += x, squares += double(x) * x;
  CHECK(std::abs(sum / 120'000) < 4 * 0.25 / std::sqrt(120'000.0));
  CHECK(std::sqrt(squares / 120'000) == Approx(0.25).epsilon(0.01));
  CHECK(initial(layout, 4) != flat);
}

TEST_CASE("neither padding nor the order of dimensions in memory changes a draw, and padding is zero") {
  constexpr int64_t kO = 5, kI = 3, kH = 2, kW = 7;
  ParamLayout plain, padded;
  plain.add("conv", {kO, kI, kH, kW}, true, Init::normal(1.0));
  padded.add("conv", {8, kH, kW, 4}, true, Init::normal(1.0), {kO, kH, kW, kI});
  padded.set_saved_names({.parts = {{.saved = "conv", .param = "conv", .permutation = {0, 3, 1, 2}}}});
  const std::vector<float> expected = initial(plain), ours = initial(padded);
  size_t at = 0;
  for (int64_t o = 0; o < kO; ++o)
    for (int64_t i = 0; i < kI; ++i)
      for (int64_t h = 0; h < kH; ++h)
        for (int64_t w = 0; w < kW; ++w) REQUIRE(ours[size_t(((o * kH + h) * kW + w) * 4 + i)] == expected[at++]);
  CHECK(std::count(ours.begin(), ours.end(), 0.0f) == padded.flat_elements() - kO * kI * kH * kW);
}

TEST_CASE("a layout refuses a live part that is no part, and counts live elements alone") {
  ParamLayout layout;
  CHECK_THROWS(layout.add("w", {4, 3}, true, {}, {5, 3}));
  CHECK_THROWS(layout.add("w", {4, 3}, true, {}, {4}));
  CHECK_THROWS(layout.add("w", {}, true));
  layout.add("conv", {8, 2, 7, 4}, true, {}, {5, 2, 7, 3});
  CHECK(layout.num_parameters() == 5 * 2 * 7 * 3);
}
