// What a rank is told by the real backend where it cannot run. The real runtime is in the module; the driver is absent,
// or the stand-in of tests/support/driver, which LD_LIBRARY_PATH puts in its place.
#include <catch2/catch.hpp>
#include <filesystem>

#include "runtime/rank/cuda_backend.h"

using namespace ddp;

namespace {

// The message and code with which the backend refuses to make a device.
Error refusal() {
  try {
    open_cuda_backend().make_device({});
  } catch (const Error& error) {
    return error;
  }
  FAIL("the backend made a device");
  throw;
}

}  // namespace

TEST_CASE("without a driver the backend says so", "[no-driver]") {
  if (std::filesystem::exists("/proc/driver/nvidia/version")) {
    WARN("this machine has a driver: nothing to test");
    return;
  }
  const Error error = refusal();
  CHECK(error.code() == ExitCode::usage);
  CHECK_THAT(error.what(), Catch::Contains("no NVIDIA driver") && Catch::Contains("--device cpu"));
  CHECK_THAT(error.what(), !Catch::Contains("\n"));
}

TEST_CASE("with a driver older than the toolkit the backend names both versions", "[old-driver]") {
  const Error error = refusal();
  CHECK(error.code() == ExitCode::usage);
  CHECK_THAT(error.what(), Catch::Contains("too old") && Catch::Contains("11.4") && Catch::Contains("toolkit <= 11.4"));
  CHECK_THAT(error.what(), !Catch::Contains("\n"));
}
