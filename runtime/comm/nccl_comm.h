// The communicator between GPUs: NCCL, one rank a GPU. No NCCL header is needed to use it.
//
// `deterministic`: sums in the order of tree_sum.h, for the same bits on 1, 2 and 4 ranks. NCCL adds in an order of its
// own, so each rank receives its slice from all peers (grouped send and receive), adds it in one kernel, and the slices
// are gathered: the bytes of a ring; of f32 or f64 only. Else ncclAllReduce in place, also in f16 and bf16, which
// repeats bits only for the same ranks, NCCL and settings.
//
// NCCL over shared memory need not notice a dead peer, and its abort can hang. So a watchdog thread ends this process
// when the abort word is set, NCCL reports an error, or a blocking call passes its deadline: it records the error (with
// rank, step and bucket), gives ncclCommAbort half a second, and leaves by _exit. Nothing of the run is saved after an
// abort.
#pragma once

#include <cstdint>
#include <memory>

#include "runtime/comm/communicator.h"
#include "runtime/config/choices.h"

namespace ddp {

inline constexpr int64_t kNcclBarrierBytes = 16;

struct NcclCommOptions {
  int rank = 0;
  void* library = nullptr;  // NCCL's, as dlopen returned it
  NcclBlocking blocking = NcclBlocking::automatic;
  bool is_captured = false;           // collectives will be part of graphs
  int64_t capture_limit_ms = 20'000;  // of the self-check's waits
  bool shares_gpu = false;            // with other ranks of the run, which NCCL takes for ranks of other hosts then
  bool deterministic = false;
  int64_t symmetric_bytes = 0;  // what all allocate_symmetric calls will add up to
  // Of further device memory: a barrier's word, and the rest for deterministic sums, larger ones of which are made in
  // pieces.
  int64_t own_bytes = kNcclBarrierBytes;
  WaitPolicy wait;
  // out (n) = the tree over s of sources (size, n), f32 or f64, on the stream; needed when deterministic.
  void (*tree_sum)(const TensorView& out, const TensorView& sources, Stream& stream) = nullptr;
};

// Collective: meets over the board. Sets NCCL_SOCKET_IFNAME=lo where the user did not, and logs the NCCL_* variables in
// force, and whether calls block and why. Device and board outlive it. Errors: rendezvous (69) naming NCCL's reason
// when the ranks cannot meet; usage (64) when the library lacks a function.
std::unique_ptr<Communicator> make_nccl_comm(Device& device, Board& board, const NcclCommOptions& options);

}  // namespace ddp
