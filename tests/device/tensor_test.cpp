#include "runtime/device/tensor.h"

#include <catch2/catch.hpp>

#include "runtime/state/param_layout.h"

using namespace ddp;

TEST_CASE("views keep the element count and bounds") {
  float data[24];
  const TensorView x(data, DType::f32, {4, 6});
  REQUIRE(x.bytes() == 96);
  REQUIRE(x.view({2, 12}).dim(1) == 12);
  REQUIRE(x.rows(1, 2).as<float>() == data + 6);
  REQUIRE(x.slice(5, 3).as<float>() == data + 5);
  REQUIRE_THROWS_AS(x.view({5, 5}), Bug);
  REQUIRE_THROWS_AS(x.rows(3, 2), Bug);
  REQUIRE_THROWS_AS(x.slice(20, 5), Bug);
  REQUIRE_THROWS_AS(x.as<double>(), Bug);
}

TEST_CASE("parameters lie on 256-byte boundaries, and chunks cover the flat buffer without a gap") {
  ParamLayout layout;
  layout.add("a", {7}, false);
  const ParamId b = layout.add("b", {300, 200}, true, {}, {299, 200});
  layout.add("c", {128}, false);
  REQUIRE(layout[b].offset == 128);
  REQUIRE(layout.flat_elements() == 128 + 60032 + 128);
  REQUIRE(layout.num_parameters() == 7 + 299 * 200 + 128);
  const auto& begin = layout.chunk_begin();
  REQUIRE(begin.front() == 0);
  REQUIRE(begin.back() == layout.flat_elements());
  for (size_t s = 0; s + 1 < begin.size(); ++s) {
    REQUIRE(begin[s] < begin[s + 1]);
    REQUIRE(begin[s + 1] - begin[s] <= kChunkElements);
  }
  REQUIRE(layout[b].first_chunk == 1);
  REQUIRE(layout[b].num_chunks == 4);
  REQUIRE(layout.chunk_decay() == std::vector<float>{0, 1, 1, 1, 1, 0});
}
