#include <catch2/catch.hpp>

#include "runtime/comm/tree_sum.h"
#include "tests/comm/values.h"

using namespace ddp;
using namespace ddp::test;

TEMPLATE_TEST_CASE("tree_sum follows the stated tree for any number of sources", "", float, double, Half, BFloat16) {
  for (const int count : {1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 17, 31, 33, 64})
    for (const int64_t n : {1, 7, 33, 1000, 2500}) {
      std::vector<std::vector<TestType>> x(static_cast<size_t>(count));
      std::vector<TestType*> at;
      for (int r = 0; r < count; ++r) {
        for (int64_t i = 0; i < n; ++i) x[size_t(r)].push_back(value_of<TestType>(r, i));
        at.push_back(x[size_t(r)].data());
      }
      std::vector<TestType> one(size_t(n) + 1, from_f32<TestType>(-77)), want;
      for (int64_t i = 0; i < n; ++i)
        want.push_back(reference_sum<TestType>(count, [i](int r) { return value_of<TestType>(r, i); }));
      TestType* out = one.data();
      const std::vector<const TestType*> sources(at.begin(), at.end());
      INFO(count << " sources of " << n);
      tree_sum<TestType>({&out, 1}, sources, n);
      CHECK((one.back() == from_f32<TestType>(-77)));
      one.pop_back();
      CHECK((one == want));
      tree_sum<TestType>(at, sources, n);  // in place, to all
      for (const auto& each : x) CHECK((each == want));
    }
}
