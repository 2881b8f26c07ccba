// Ends this process when the run is being aborted or NCCL reports an error, whatever the host thread is stuck in. Why a
// thread: a dead peer leaves the GPU inside a collective that never ends, and calls of the CUDA runtime then block, as
// do those of a blocking communicator.
#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>

#include "runtime/base/exit_codes.h"
#include "runtime/board/board.h"
#include "runtime/comm/nccl_api.h"

namespace ddp {

// To be held during every call of NCCL on a communicator. The trainer's thread makes such calls and the watchdog's
// thread queries errors; NCCL itself does not lock, although the query frees the record of a call that it finds done.
using NcclCalls = std::timed_mutex;

class NcclWatchdog {
 public:
  // All of them outlive it. Until watch() it has no communicator to ask or to abort.
  NcclWatchdog(const NcclApi& api, NcclCalls& calls, Board& board, int rank);
  NcclWatchdog(const NcclWatchdog&) = delete;
  NcclWatchdog& operator=(const NcclWatchdog&) = delete;
  ~NcclWatchdog() = default;  // the thread is asked to stop and joined

  void watch(ncclComm_t comm);  // nullptr: no more

  // Reports the error, with step and bucket, and ends the process.
  [[noreturn]] void fail(ExitCode code, const std::string& what);

  // Of a call that blocks in NCCL, for as long as this lives: after the deadline the process ends with hang (124).
  class Limit {
   public:
    Limit(NcclWatchdog& watchdog, const char* call, const WaitPolicy& policy);
    Limit(const Limit&) = delete;
    Limit& operator=(const Limit&) = delete;
    ~Limit();

   private:
    NcclWatchdog& watchdog_;
  };

 private:
  struct LimitedCall {
    const char* name;
    int64_t timeout_ms;
    Deadline deadline;
  };

  void run(const std::stop_token& stop);
  ncclResult_t state() const;
  [[noreturn]] void leave(ExitCode code);

  const NcclApi& api_;
  NcclCalls& calls_;
  Board& board_;
  const int rank_;
  std::mutex mutex_;
  ncclComm_t comm_ = nullptr;
  std::optional<LimitedCall> limited_;
  std::condition_variable_any wake_;
  std::jthread thread_;  // last: it uses the others
};

// NCCL can tell of a peer's death before the launcher does: where `result` may mean that, waits 200 ms for the abort
// word, so that the dead peer is named as the first cause. True: the run is being aborted.
bool is_aborted_by_peer(ncclResult_t result, const FutexWord* abort_word);

// False: it did not return within half a second, as it may not where a peer is dead, or there is no thread to call it.
bool abort_nccl(const NcclApi& api, ncclComm_t comm);

}  // namespace ddp
