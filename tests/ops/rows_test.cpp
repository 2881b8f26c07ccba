#include <catch2/catch.hpp>

#include "tests/ops/harness.h"

namespace ddp::test {
namespace {

struct Case {
  int64_t samples, n, m, c;  // n, m: rows of a sample
};
const Case kCases[] = {{1, 1, 1, 1}, {3, 2, 7, 33}, {2, 7, 7, 64}, {5, 20, 33, 1100}, {33, 1, 12, 7}};

// Distinct rows of each sample, not in order, about a third of them absent.
std::vector<int32_t> indices(const Case& x) {
  std::vector<int32_t> out;
  for (int64_t i = 0; i < x.samples * x.n; ++i)
    out.push_back(i % 3 == 2 ? -1 - int32_t(i) : int32_t((i % x.n * 5 + i / x.n) % x.m));
  return out;
}

Floats row_of(const Floats& x, int64_t row, int64_t c) {
  return {x.begin() + ptrdiff_t(row * c), x.begin() + ptrdiff_t((row + 1) * c)};
}

TEST_CASE("gather_rows: rows of each sample by their indices, zeros for an index below 0") {
  for (const DType type : storage_types())
    for (const Case& x : kCases) {
      CAPTURE(dtype_name(type), x.samples, x.n, x.m, x.c);
      const std::vector<int32_t> index = indices(x);
      const int64_t n = x.samples * x.n, m = x.samples * x.m;
      const Stored from(type, randoms(1, m * x.c));
      const Outputs got = in_every_setting([&](Run& run) {
        gather_rows(run.exec(), {.y = run.output({n, x.c}, type),
                                 .x = from.view({m, x.c}),
                                 .index = view(index, {n}),
                                 .samples = x.samples});
      });
      const Floats values = from.values();
      Floats want;
      for (int64_t i = 0; i < n; ++i) {
        const Floats row =
            index[size_t(i)] < 0 ? Floats(size_t(x.c), 0.0f) : row_of(values, i / x.n * x.m + index[size_t(i)], x.c);
        want.insert(want.end(), row.begin(), row.end());
      }
      CHECK(got.values(0, type) == want);
    }
}

TEST_CASE("scatter_rows: the rows named, zeros elsewhere") {
  for (const DType type : storage_types())
    for (const Case& x : kCases) {
      CAPTURE(dtype_name(type), x.samples, x.n, x.m, x.c);
      const std::vector<int32_t> index = indices(x);
      const int64_t n = x.samples * x.n, m = x.samples * x.m;
      const Stored from(type, randoms(1, n * x.c));
      const Outputs got = in_every_setting([&](Run& run) {
        scatter_rows(run.exec(), {.y = run.output({m, x.c}, type),
                                  .x = from.view({n, x.c}),
                                  .index = view(index, {n}),
                                  .samples = x.samples});
      });
      const Floats values = from.values();
      Floats want(size_t(m * x.c), 0.0f);
      for (int64_t i = 0; i < n; ++i) {
        if (index[size_t(i)] < 0) continue;
        const Floats row = row_of(values, i, x.c);
        std::copy(row.begin(), row.end(), want.begin() + ptrdiff_t((i / x.n * x.m + index[size_t(i)]) * x.c));
      }
      CHECK(got.values(0, type) == want);
    }
}

TEST_CASE("gather_rows and scatter_rows: an index past its sample is an error, not a stray access", "[host-error]") {
  const std::vector<int32_t> index = {0, 2};
  const Floats four(4 * 3, 0.0f), two(2 * 3, 0.0f);
  Run gather, scatter;
  gather_rows(gather.exec(),
              {.y = gather.output({2, 3}), .x = view(four, {4, 3}), .index = view(index, {2}), .samples = 2});
  CHECK_THROWS_WITH(gather.finish(), Catch::Matchers::Contains("index 2 of 2 rows"));
  scatter_rows(scatter.exec(),
               {.y = scatter.output({4, 3}), .x = view(two, {2, 3}), .index = view(index, {2}), .samples = 2});
  CHECK_THROWS_WITH(scatter.finish(), Catch::Matchers::Contains("index 2 of 2 rows"));
}

}  // namespace
}  // namespace ddp::test
