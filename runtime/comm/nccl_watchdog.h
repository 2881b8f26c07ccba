// Ends this process when the run is being aborted or NCCL reports an error, whatever the host thread is stuck in. Why a
// thread: a dead peer leaves the GPU inside a collective that never ends, and calls of the CUDA runtime then block.
#pragma once

#include <nccl.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "runtime/board/board.h"

namespace ddp {

class NcclWatchdog {
 public:
  // Communicator and board outlive it.
  NcclWatchdog(ncclComm_t comm, Board& board, int rank);
  NcclWatchdog(const NcclWatchdog&) = delete;
  NcclWatchdog& operator=(const NcclWatchdog&) = delete;
  ~NcclWatchdog() = default;  // the thread is asked to stop and joined

 private:
  void watch(const std::stop_token& stop);
  [[noreturn]] void leave(int exit_code);

  ncclComm_t comm_;
  Board& board_;
  const int rank_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::jthread thread_;  // last: it uses the others
};

// Errors: 71 naming the call and NCCL's reason. `comm` may be null.
void check_nccl(ncclResult_t result, ncclComm_t comm, const char* call);
std::string nccl_error_text(ncclResult_t result, ncclComm_t comm, const char* call);

}  // namespace ddp
