// How a rank calls NCCL.
#include <catch2/catch.hpp>

#include "runtime/comm/nccl_watchdog.h"
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

TEST_CASE("an error of the system where shared memory is small says how to have more") {
  constexpr int64_t kDockers = int64_t(64) << 20, kAmple = int64_t(16) << 30;
  CHECK_THAT(nccl_advice(ncclSystemError, kDockers), Contains("/dev/shm has 64 MB") && Contains("--shm-size"));
  CHECK_THAT(nccl_advice(ncclSystemError, kAmple), !Contains("/dev/shm"));
  CHECK_THAT(nccl_advice(ncclRemoteError, kDockers), !Contains("/dev/shm"));
}
