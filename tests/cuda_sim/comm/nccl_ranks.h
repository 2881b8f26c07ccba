// Ranks over NCCL for tests: forked processes, each with a simulated GPU of its own.
#pragma once

#include "tests/comm/rank_harness.h"

namespace ddp::test {

struct NcclWorld {
  int size;
  bool deterministic = false;
  const char* streams = "late";  // DDP_SIM_STREAMS
  int seed = 1;
  const char* fault = "";  // DDP_SIM_FAULT
  std::string name() const;
};

// Sets the simulator's variables, which ranks forked from now on read.
RankParts parts_of(const NcclWorld& world, const WorldOptions& options);

}  // namespace ddp::test
