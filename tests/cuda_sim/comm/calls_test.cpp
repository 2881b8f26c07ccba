// How a rank calls NCCL.
#include <dlfcn.h>

#include <catch2/catch.hpp>

#include "runtime/base/error.h"
#include "runtime/comm/nccl_api.h"
#include "tests/cuda_sim/comm/nccl_ranks.h"

using namespace ddp;
using namespace ddp::test;
using Catch::Matchers::Contains;

// The simulated library reports two calls at once, and its queries of errors take long enough to meet.
TEST_CASE("the watchdog and the host never call NCCL at the same time") {
  const WorldOptions options = {.symmetric_bytes = kReducedElements * 4};
  const NcclWorld world = {.size = 2, .fault = "nccl-lingers"};
  RankProcesses ranks(world.size, options, parts_of(world, options), [](RankContext& c) {
    const TensorView x{c.comm.allocate_symmetric(4000), DType::f32, {1000}};
    for (int i = 0; i < 30; ++i) {
      c.comm.all_reduce(x, c.stream);
      c.synchronize();
    }
  });
  for (int rank = 0; rank < world.size; ++rank) {
    const RankResult result = ranks.wait(rank);
    INFO(result.text);
    CHECK(result.code == 0);
  }
}

TEST_CASE("an error of the system where shared memory is small says how to have more in a container") {
  constexpr int64_t kDockers = int64_t(64) << 20, kAmple = int64_t(16) << 30;
  CHECK_THAT(nccl_advice(ncclSystemError, kDockers), Contains("/dev/shm has 64 MB") && Contains("--shm-size") &&
                                                         Contains("--ipc=host") && Contains("--cap-add SYS_NICE"));
  CHECK_THAT(nccl_advice(ncclSystemError, kAmple), !Contains("/dev/shm"));
  CHECK_THAT(nccl_advice(ncclRemoteError, kDockers), !Contains("/dev/shm"));
}

TEST_CASE("a library without a function that is needed is refused by its version, with the function's name") {
  const auto refusal = [](void* library) -> std::string {
    REQUIRE(library != nullptr);
    try {
      load_nccl(library);
    } catch (const Error& e) {
      CHECK(e.code() == ExitCode::usage);
      return e.what();
    }
    return "";
  };
  CHECK(refusal(linked_nccl()) == "");
  CHECK_THAT(refusal(::dlopen(OLD_NCCL_PATH, RTLD_NOW | RTLD_LOCAL)),
             Contains("library 2.12.5 lacks ncclGetErrorString") && Contains("2.18"));
  CHECK_THAT(refusal(::dlopen("libc.so.6", RTLD_NOW)), Contains("library lacks ncclGetVersion"));
}
