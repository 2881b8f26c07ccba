// Ranks over NCCL for tests: forked processes, each with a simulated GPU of its own.
#pragma once

#include <functional>

#include "runtime/comm/nccl_comm.h"
#include "tests/comm/rank_harness.h"

namespace ddp::test {

struct NcclWorld {
  int size;
  bool deterministic = false;
  const char* streams = "late";  // DDP_SIM_STREAMS
  int seed = 1;
  const char* fault = "";  // DDP_SIM_FAULT
  NcclBlocking blocking = NcclBlocking::automatic;
  bool is_captured = false;
  bool shares_gpu = false;
  std::string name() const;
};

// The simulated NCCL that this program is linked with, as a library.
void* linked_nccl();

// Sets the simulator's variables, which ranks forked from now on read.
RankParts parts_of(const NcclWorld& world, const WorldOptions& options);
// The same of a world in which only rank 0 comes; `others_first` is what the others do, on the board.
RankParts parts_of_rank_0_alone(const NcclWorld& world, const WorldOptions& options,
                                const std::function<void(Board&)>& others_first = {});

}  // namespace ddp::test
