// Ranks on one GPU: NCCL refuses them, but where they ask as DDP_SHARE_GPU=1 has them ask.
#include <catch2/catch.hpp>
#include <cstdlib>

#include "tests/cuda_sim/comm/nccl_ranks.h"

using namespace ddp;
using namespace ddp::test;
using Catch::Matchers::Contains;

namespace {

constexpr WorldOptions kOptions = {.failure_aborts = false};

// How rank 0 of two ends that are pinned to one GPU, with NCCL of this version.
RankResult end_on_one_gpu(const NcclWorld& world, const char* version) {
  RankParts parts = parts_of(world, kOptions);
  const auto make_nccl = parts.make_comm;
  parts.make_comm = [&](Device& device, Board& board, int rank, const WaitPolicy& wait) {
    ::setenv("CUDA_VISIBLE_DEVICES", "GPU-0", 1);
    ::setenv("DDP_SIM_NCCL", version, 1);
    return make_nccl(device, board, rank, wait);
  };
  RankProcesses ranks(world.size, kOptions, parts, [](RankContext& c) { c.comm.barrier(c.stream); });
  const std::vector<RankResult> results = ranks.wait_for_all();
  CHECK(results[0].code == results[1].code);
  return results[0];
}

}  // namespace

TEST_CASE("two ranks on one GPU are refused by NCCL, and accepted where they share it in the way of their version") {
  for (const NcclBlocking blocking : {NcclBlocking::no, NcclBlocking::yes}) {
    for (const char* version : {"21805", "22809", "23003"}) {
      INFO(version);
      const RankResult alone = end_on_one_gpu({.size = 2, .blocking = blocking}, version);
      CHECK(alone.code == int(ExitCode::rendezvous));
      CHECK_THAT(alone.text, Contains("Duplicate GPU detected") && !Contains("not possible"));
      const RankResult sharing = end_on_one_gpu({.size = 2, .blocking = blocking, .shares_gpu = true}, version);
      INFO(sharing.text);
      CHECK(sharing.code == 0);
    }
  }
}

TEST_CASE("a NCCL that refuses ranks which share a GPU is named, with its reason") {
  const RankResult refused = end_on_one_gpu({.size = 2, .fault = "nccl-ignores-hostid", .shares_gpu = true}, "22809");
  CHECK(refused.code == int(ExitCode::rendezvous));
  CHECK_THAT(refused.text, Contains("not possible with this NCCL, 2.28.9") && Contains("Duplicate GPU detected"));
}
