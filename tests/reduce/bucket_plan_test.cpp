#include <catch2/catch.hpp>

#include "runtime/reduce/bucket_plan.h"
#include "runtime/reduce/lane_tree.h"

using namespace ddp;

namespace {

ParamLayout layout_of(std::initializer_list<int64_t> sizes) {
  ParamLayout layout;
  for (const int64_t n : sizes) layout.add("p" + std::to_string(layout.params().size()), {n}, false);
  return layout;
}

}  // namespace

TEST_CASE("buckets cover the layout exactly, in order, and stay within the limit") {
  const ParamLayout layout = layout_of({1, 7, 33, 1000, 65537, 64, 64, 40000, 3, 129});
  for (const int64_t limit : {1, 128, 256, 1024, 25'000, 1 << 18}) {
    INFO("bucket_elements " << limit);
    int64_t element = 0, chunk = 0;
    int param = 0;
    for (const Bucket& b : plan_buckets(layout, limit)) {
      CHECK(b.begin == element);
      CHECK(b.first_chunk == chunk);
      CHECK(b.num_params >= 1);
      CHECK(b.begin == layout.params()[size_t(param)].offset);
      CHECK(layout.chunk_begin()[size_t(b.first_chunk)] == b.begin);
      CHECK(layout.chunk_begin()[size_t(b.first_chunk + b.num_chunks)] == b.end);
      CHECK((b.num_params == 1 || b.end - b.begin <= limit));
      param += b.num_params;
      element = b.end;
      chunk += b.num_chunks;
    }
    CHECK(param == int(layout.params().size()));
    CHECK(element == layout.flat_elements());
    CHECK(chunk == layout.num_chunks());
  }
}

TEST_CASE("a parameter larger than a bucket is a bucket of its own") {
  const std::vector<Bucket> buckets = plan_buckets(layout_of({64, 64, 10'000, 64, 64}), 256);
  REQUIRE(buckets.size() == 3);
  CHECK(buckets[0].num_params == 2);
  CHECK(buckets[1].num_params == 1);
  CHECK(buckets[2].num_params == 2);
}

TEST_CASE("parameters share a bucket while they fit, padding counted") {
  // 65 elements take 128 with padding.
  CHECK(plan_buckets(layout_of({65, 65}), 256).size() == 1);
  CHECK(plan_buckets(layout_of({65, 65}), 255).size() == 2);
}

TEST_CASE("lanes combine as the aligned pairwise tree in log2 + 1 buffers") {
  for (const int lanes : {1, 2, 4, 8}) {
    std::vector<std::string> buffer(static_cast<size_t>(num_lane_buffers(lanes)));
    for (int lane = 0; lane < lanes; ++lane) {
      buffer.at(size_t(lane_buffer(lane))) = std::to_string(lane);
      combine_lanes(lane, [&](int to, int from) {
        buffer[size_t(to)] = "(" + buffer[size_t(to)] + "+" + buffer[size_t(from)] + ")";
      });
    }
    const char* want = lanes == 1   ? "0"
                       : lanes == 2 ? "(0+1)"
                       : lanes == 4 ? "((0+1)+(2+3))"
                                    : "(((0+1)+(2+3))+((4+5)+(6+7)))";
    CHECK(buffer[0] == want);
  }
}
