#include "tests/cuda_sim/comm/nccl_ranks.h"

#include <dlfcn.h>

#include <cstdlib>

#include "kernels/cuda/tree_sum.h"
#include "runtime/device/cuda_device.h"

namespace ddp::test {
namespace {

constexpr int64_t kCaptureLimitMs = 2000;
constexpr int64_t kScratchBytes = 64 << 10;  // the larger sums of the contract take several pieces

}  // namespace

std::string NcclWorld::name() const {
  return fmt::format("{} ranks, {}, streams {}, seed {}{}", size, deterministic ? "deterministic" : "NCCL's order",
                     streams, seed, blocking == NcclBlocking::yes ? ", blocking" : "");
}

void* linked_nccl() {
  static void* const program = ::dlopen(nullptr, RTLD_NOW);
  return program;
}

RankParts parts_of(const NcclWorld& world, const WorldOptions& options) {
  ::setenv("DDP_SIM_STREAMS", world.streams, 1);
  ::setenv("DDP_SIM_SEED", std::to_string(world.seed).c_str(), 1);
  ::setenv("DDP_SIM_FAULT", world.fault, 1);
  return {[] { return make_cuda_device({.workspace_bytes = 1 << 20}); },
          [=](Device& device, Board& board, int rank, const WaitPolicy& wait) {
            return make_nccl_comm(device, board,
                                  {.rank = rank,
                                   .library = linked_nccl(),
                                   .blocking = world.blocking,
                                   .is_captured = world.is_captured,
                                   .capture_limit_ms = kCaptureLimitMs,
                                   .shares_gpu = world.shares_gpu,
                                   .deterministic = world.deterministic,
                                   .symmetric_bytes = options.symmetric_bytes,
                                   .own_bytes = kNcclBarrierBytes + (world.deterministic ? kScratchBytes : 0),
                                   .wait = wait,
                                   .tree_sum = cuda::tree_sum});
          }};
}

RankParts parts_of_rank_0_alone(const NcclWorld& world, const WorldOptions& options,
                                const std::function<void(Board&)>& others_first) {
  RankParts parts = parts_of(world, options);
  parts.make_comm = [=, make_nccl = parts.make_comm](Device& device, Board& board, int rank, const WaitPolicy& wait) {
    if (rank == 0) return make_nccl(device, board, rank, wait);
    if (others_first) others_first(board);
    return make_solo_comm(device);
  };
  return parts;
}

}  // namespace ddp::test
