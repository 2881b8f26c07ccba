// The communicator under the contract's tests here: NCCL's.
#include <catch2/catch.hpp>

#include "tests/comm/contract.h"
#include "tests/cuda_sim/bridge.h"
#include "tests/cuda_sim/comm/nccl_ranks.h"

namespace ddp::test {

void in_every_world(const RankBody& body) {
  constexpr NcclWorld kWorlds[] = {
      {.size = 1, .deterministic = false, .streams = "late", .seed = 1},
      {.size = 2, .deterministic = false, .streams = "random", .seed = 2},
      {.size = 3, .deterministic = false, .streams = "late", .seed = 3},
      {.size = 4, .deterministic = false, .streams = "random", .seed = 4},
      {.size = 5, .deterministic = false, .streams = "eager", .seed = 5},
      {.size = 1, .deterministic = true, .streams = "random", .seed = 6},
      {.size = 2, .deterministic = true, .streams = "late", .seed = 7},
      {.size = 3, .deterministic = true, .streams = "random", .seed = 8},
      {.size = 4, .deterministic = true, .streams = "late", .seed = 9},
      {.size = 5, .deterministic = true, .streams = "random", .seed = 10},
      {.size = 3, .streams = "random", .seed = 11, .blocking = NcclBlocking::yes},
      {.size = 2, .deterministic = true, .streams = "late", .seed = 12, .blocking = NcclBlocking::yes},
  };
  for (const NcclWorld& world : kWorlds) {
    INFO(world.name());
    const WorldOptions options = {.symmetric_bytes = kContractSymmetricBytes,
                                  .adds_in_tree_order = world.deterministic,
                                  .sums_16_bits = !world.deterministic};
    CHECK(failures(RankProcesses(world.size, options, parts_of(world, options), body).wait_for_all()) == "");
  }
}

void enqueue_work(Stream& stream, const std::function<void()>& work) {
  sim::enqueue_kernel(static_cast<cudaStream_t>(stream.handle()), "the host's work", work);
}

}  // namespace ddp::test
