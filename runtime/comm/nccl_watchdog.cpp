#include "runtime/comm/nccl_watchdog.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <future>

#include "runtime/base/error.h"
#include "runtime/base/log.h"

namespace ddp {
namespace {

using namespace std::chrono_literals;
constexpr auto kPeriod = 20ms;          // between looks at the abort word
constexpr auto kAbortPatience = 500ms;  // of ncclCommAbort, which may hang

}  // namespace

std::string nccl_error_text(ncclResult_t result, ncclComm_t comm, const char* call) {
  const char* detail = comm != nullptr ? ncclGetLastError(comm) : nullptr;
  const bool has_detail = detail != nullptr && detail[0] != '\0';
  return fmt::format("{}: {}{}{}", call, ncclGetErrorString(result), has_detail ? ": " : "", has_detail ? detail : "");
}

void check_nccl(ncclResult_t result, ncclComm_t comm, const char* call) {
  if (result == ncclSuccess) return;
  throw Error(ExitCode::os_resource, nccl_error_text(result, comm, call), "NCCL_DEBUG=INFO says more");
}

NcclWatchdog::NcclWatchdog(ncclComm_t comm, Board& board, int rank)
    : comm_(comm), board_(board), rank_(rank), thread_([this](const std::stop_token& stop) { watch(stop); }) {}

void NcclWatchdog::watch(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, stop, kPeriod, [&] { return stop.stop_requested(); })) {
    if (stop.stop_requested()) return;
    if (board_->abort_word.load(std::memory_order_acquire) != 0) {
      log::info("aborted in the middle of GPU work: another rank failed first");
      leave(int(ExitCode::rendezvous));
    }
    ncclResult_t state = ncclSuccess;
    const ncclResult_t asked = ncclCommGetAsyncError(comm_, &state);
    if (asked != ncclSuccess) state = asked;
    if (state == ncclSuccess || state == ncclInProgress) continue;
    const RankStatus& at = board_->ranks[size_t(rank_)];
    const std::string text = fmt::format("rank {} step {} bucket {}: {}", rank_, at.step.load(), at.bucket.load(),
                                         nccl_error_text(state, comm_, "NCCL"));
    board_.report_error(rank_, int(ExitCode::os_resource), text);
    log::error("{}", text);
    leave(int(ExitCode::os_resource));
  }
}

// The abort frees the GPU from a collective that will not end, so that the driver can take the process down.
void NcclWatchdog::leave(int exit_code) {
  std::promise<void> promise;
  std::future<void> aborted = promise.get_future();
  std::thread([comm = comm_, done = std::move(promise)]() mutable {
    ncclCommAbort(comm);
    done.set_value();
  }).detach();
  aborted.wait_for(kAbortPatience);
  ::_exit(exit_code);
}

}  // namespace ddp
