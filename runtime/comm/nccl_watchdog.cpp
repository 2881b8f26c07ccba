#include "runtime/comm/nccl_watchdog.h"

#include <fmt/format.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <chrono>
#include <future>

#include "runtime/base/error.h"
#include "runtime/base/log.h"

namespace ddp {
namespace {

using namespace std::chrono_literals;
constexpr auto kPeriod = 20ms;          // between looks at the abort word
constexpr auto kCallPatience = 100ms;   // of a call that the host is in, which may hang
constexpr auto kAbortPatience = 500ms;  // of ncclCommAbort, which may hang
constexpr int64_t kAmpleSharedMemory = int64_t(1) << 30;

int64_t shared_memory_bytes() {
  struct statvfs s;
  return ::statvfs("/dev/shm", &s) == 0 ? int64_t(s.f_blocks) * int64_t(s.f_frsize) : 0;
}

}  // namespace

std::string nccl_error_text(ncclResult_t result, ncclComm_t comm, const char* call) {
  const char* detail = comm != nullptr ? ncclGetLastError(comm) : nullptr;
  const bool has_detail = detail != nullptr && detail[0] != '\0';
  return fmt::format("{}: {}{}{}", call, ncclGetErrorString(result), has_detail ? ": " : "", has_detail ? detail : "");
}

void check_nccl(ncclResult_t result, ncclComm_t comm, const char* call) {
  if (result == ncclSuccess) return;
  throw Error(ExitCode::os_resource, nccl_error_text(result, comm, call), nccl_advice(result, shared_memory_bytes()));
}

std::string nccl_advice(ncclResult_t result, int64_t shared_memory_bytes) {
  const std::string more = "NCCL_DEBUG=INFO says more";
  if (result != ncclSystemError || shared_memory_bytes >= kAmpleSharedMemory) return more;
  return fmt::format("/dev/shm has {} MB, perhaps too few: in Docker start the container with --shm-size=1g; {}",
                     shared_memory_bytes >> 20, more);
}

NcclWatchdog::NcclWatchdog(ncclComm_t comm, NcclCalls& calls, Board& board, int rank)
    : comm_(comm), calls_(calls), board_(board), rank_(rank), thread_([this](const std::stop_token& stop) {
        watch(stop);
      }) {}

void NcclWatchdog::watch(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, stop, kPeriod, [&] { return stop.stop_requested(); })) {
    if (stop.stop_requested()) return;
    if (board_->abort_word.load(std::memory_order_acquire) != 0) {
      log::info("aborted in the middle of GPU work: another rank failed first");
      leave(int(ExitCode::rendezvous));
    }
    const ncclResult_t error = state();
    if (error == ncclSuccess || error == ncclInProgress) continue;
    const RankStatus& at = board_->ranks[size_t(rank_)];
    const std::string text =
        fmt::format("rank {} step {} bucket {}: {} ({})", rank_, at.step.load(), at.bucket.load(),
                    nccl_error_text(error, comm_, "NCCL"), nccl_advice(error, shared_memory_bytes()));
    board_.report_error(rank_, int(ExitCode::os_resource), text);
    log::error("{}", text);
    leave(int(ExitCode::os_resource));
  }
}

// While the host is in a call, it looks for errors itself.
ncclResult_t NcclWatchdog::state() const {
  const std::unique_lock call(calls_, std::try_to_lock);
  ncclResult_t state = ncclInProgress;
  if (!call) return state;
  const ncclResult_t asked = ncclCommGetAsyncError(comm_, &state);
  return asked == ncclSuccess ? state : asked;
}

// The abort frees the GPU from a collective that will not end, so that the driver can take the process down. The host
// makes no more calls then, unless it is stuck in one.
void NcclWatchdog::leave(int exit_code) {
  const std::unique_lock call(calls_, kCallPatience);
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
