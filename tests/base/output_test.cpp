#include <catch2/catch.hpp>
#include <system_error>

#include "runtime/base/output.h"

using namespace ddp;

TEST_CASE("a failure beside standard output is not taken for success") {
  const auto fail = [] { throw std::system_error(std::make_error_code(std::errc::too_many_symbolic_link_levels)); };
  CHECK_THROWS_AS(write_output(fail), std::system_error);
  CHECK_NOTHROW(write_output([] {}));
}
