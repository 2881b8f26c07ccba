#include "runtime/base/run_files.h"

#include <catch2/catch.hpp>

using namespace ddp;

TEST_CASE("the name of a checkpoint tells its step, and nothing else is one") {
  for (const int64_t step : {0L, 1L, 99'999'999L, 100'000'000L, 1'000'000'000L})
    CHECK(step_of_name(step_name(step)) == step);
  CHECK(step_name(100) == "step-00000100");
  for (const char* other : {"", "step-", "step-1", "step-000000100", "step-00000100.bak", "step--0000100",
                            "Step-00000100", ".replaced-step-00000100", "abandoned-100", "step-99999999999999999999"})
    CHECK(step_of_name(other) == -1);
}
