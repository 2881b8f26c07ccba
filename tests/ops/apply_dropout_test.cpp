#include <catch2/catch.hpp>

#include "tests/ops/harness.h"

namespace ddp::test {
namespace {

const uint32_t kStep = 4;
const std::vector<int32_t> kSampleIds = {9, 2, 30};

TEST_CASE("apply_dropout: the mask of each sample's elements, or a copy, and in place") {
  for (const DType type : storage_types())
    for (const float p : {0.0f, 0.3f})
      for (const int64_t t : {1, 7, 33})
        for (const int64_t c : {1, 7, 64, 1000}) {
          CAPTURE(dtype_name(type), p, t, c);
          const int64_t samples = int64_t(kSampleIds.size()), n = samples * t * c;
          const Dropout dropout = lend_to_device({.p = p, .seed = 5, .site = 8}, kStep, kSampleIds);
          const Stored x(type, randoms(1, n));
          const Outputs got = in_every_setting([&](Run& run) {
            apply_dropout(run.exec(),
                          {.y = run.output({samples, t, c}, type), .x = x.view({samples, t, c}), .dropout = dropout});
            const TensorView in_place = run.output(x, {samples * t, c});
            apply_dropout(run.exec(), {.y = in_place, .x = in_place, .dropout = dropout});
          });
          Floats want = x.values();
          const Vec mask = p > 0.0f ? row_mask(dropout, samples, t * c) : Vec(size_t(n), 1.0);
          for (size_t i = 0; i < want.size(); ++i) want[i] *= float(mask[i]);
          CHECK(got.values(0, type) == Stored(type, want).values());
          CHECK(got.values(1, type) == got.values(0, type));
        }
}

}  // namespace
}  // namespace ddp::test
