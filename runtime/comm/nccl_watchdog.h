// Ends this process when the run is being aborted or NCCL reports an error, whatever the host thread is stuck in. Why a
// thread: a dead peer leaves the GPU inside a collective that never ends, and calls of the CUDA runtime then block.
#pragma once

#include <nccl.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "runtime/board/board.h"

namespace ddp {

// Held by whoever calls NCCL on a communicator, the query of its errors included: a call that was begun leaves NCCL a
// record, and the query that finds it done frees it, without a lock.
using NcclCalls = std::timed_mutex;

class NcclWatchdog {
 public:
  // All of them outlive it.
  NcclWatchdog(ncclComm_t comm, NcclCalls& calls, Board& board, int rank);
  NcclWatchdog(const NcclWatchdog&) = delete;
  NcclWatchdog& operator=(const NcclWatchdog&) = delete;
  ~NcclWatchdog() = default;  // the thread is asked to stop and joined

 private:
  void watch(const std::stop_token& stop);
  ncclResult_t state() const;
  [[noreturn]] void leave(int exit_code);

  ncclComm_t comm_;
  NcclCalls& calls_;
  Board& board_;
  const int rank_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::jthread thread_;  // last: it uses the others
};

// Errors: 71 naming the call and NCCL's reason. `comm` may be null.
void check_nccl(ncclResult_t result, ncclComm_t comm, const char* call);
std::string nccl_error_text(ncclResult_t result, ncclComm_t comm, const char* call);
// What to do about it, where /dev/shm is of so many bytes: GPUs that cannot reach each other exchange through files
// there, some 10 MB for each pair of neighbours and channel.
std::string nccl_advice(ncclResult_t result, int64_t shared_memory_bytes);

}  // namespace ddp
