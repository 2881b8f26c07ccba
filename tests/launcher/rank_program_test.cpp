#include <catch2/catch.hpp>

#include "launcher/rank_program.h"
#include "runtime/base/error.h"

using namespace ddp;
using Catch::Contains;

namespace {

constexpr const char* kThree = "x86-64-v3,x86-64-v4,x86-64-v4+avx512bf16";

std::vector<std::string> chosen_by(std::string_view archs, const std::vector<std::string_view>& processor) {
  return rank_programs(archs, [&](std::string_view arch) {
    return std::find(processor.begin(), processor.end(), arch) != processor.end();
  });
}

}  // namespace

TEST_CASE("the newest ddp-rank that the processor runs comes first") {
  using Names = std::vector<std::string>;
  CHECK(chosen_by(kThree, {"x86-64-v3"}) == Names{"ddp-rank"});
  CHECK(chosen_by(kThree, {"x86-64-v3", "x86-64-v4"}) == Names{"ddp-rank-x86-64-v4", "ddp-rank"});
  CHECK(chosen_by(kThree, {"x86-64-v3", "x86-64-v4", "x86-64-v4+avx512bf16"}) ==
        Names{"ddp-rank-x86-64-v4-avx512bf16", "ddp-rank-x86-64-v4", "ddp-rank"});
  CHECK(chosen_by("native", {"native"}) == Names{"ddp-rank"});
}

TEST_CASE("a processor below the lowest machine type is refused with 71, naming it") {
  try {
    chosen_by(kThree, {});
    FAIL("a program was found");
  } catch (const Error& error) {
    CHECK(error.code() == ExitCode::os_resource);
    CHECK_THAT(error.what(), Contains("older than x86-64-v3") && Contains("AVX2") && !Contains("\n"));
  }
}
