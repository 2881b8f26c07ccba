#include "runtime/comm/nccl_watchdog.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <future>

#include "runtime/base/error.h"
#include "runtime/base/log.h"
#include "runtime/base/start_thread.h"

namespace ddp {
namespace {

using namespace std::chrono_literals;
constexpr auto kPeriod = 20ms;          // between looks at the abort word
constexpr auto kCallPatience = 100ms;   // of a call that the host is in, which may hang
constexpr auto kAbortPatience = 500ms;  // of ncclCommAbort, which may hang
constexpr auto kPeerPatience = 200ms;   // of the launcher, which sees a dead peer within some ms

}  // namespace

bool is_aborted_by_peer(ncclResult_t result, const FutexWord* abort_word) {
  if (abort_word == nullptr || (result != ncclRemoteError && result != ncclSystemError)) return false;
  const auto is_set = [&] { return abort_word->load(std::memory_order_acquire) != 0; };
  const auto end = std::chrono::steady_clock::now() + kPeerPatience;
  while (!is_set() && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(1ms);
  return is_set();
}

bool abort_nccl(const NcclApi& api, ncclComm_t comm) {
  std::promise<void> promise;
  std::future<void> aborted = promise.get_future();
  try {
    start_thread("NCCL's abort", [abort = api.ncclCommAbort, comm, done = std::move(promise)]() mutable {
      abort(comm);
      done.set_value();
    }).detach();
  } catch (const Error&) {
    return false;
  }
  return aborted.wait_for(kAbortPatience) == std::future_status::ready;
}

NcclWatchdog::NcclWatchdog(const NcclApi& api, NcclCalls& calls, Board& board, int rank)
    : api_(api),
      calls_(calls),
      board_(board),
      rank_(rank),
      thread_(start_thread<std::jthread>("NCCL's watchdog", [this](const std::stop_token& stop) { run(stop); })) {}

void NcclWatchdog::watch(ncclComm_t comm) {
  const std::lock_guard lock(mutex_);
  comm_ = comm;
}

NcclWatchdog::Limit::Limit(NcclWatchdog& watchdog, const char* call, const WaitPolicy& policy) : watchdog_(watchdog) {
  const std::lock_guard lock(watchdog_.mutex_);
  watchdog_.limited_.emplace(LimitedCall{call, policy.timeout_ms, Deadline(policy)});
}

NcclWatchdog::Limit::~Limit() {
  const std::lock_guard lock(watchdog_.mutex_);
  watchdog_.limited_.reset();
}

void NcclWatchdog::run(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, stop, kPeriod, [&] { return stop.stop_requested(); })) {
    if (stop.stop_requested()) return;
    const bool is_aborted = board_->abort_word.load(std::memory_order_acquire) != 0;
    const ncclResult_t error = is_aborted ? ncclSuccess : state();
    if (is_aborted || is_aborted_by_peer(error, &board_->abort_word)) {
      log::info("aborted in the middle of GPU work: another rank failed first");
      leave(ExitCode::rendezvous);
    }
    if (error != ncclSuccess && error != ncclInProgress)
      fail(ExitCode::os_resource,
           fmt::format("{} ({})", api_.error_text(error, comm_, "NCCL"), nccl_advice(error, shared_memory_bytes())));
    if (limited_ && limited_->deadline.passed())
      fail(ExitCode::hang, fmt::format("{} did not return within {} s", limited_->name, limited_->timeout_ms / 1000));
  }
}

// While the host is in a call, it looks for errors itself.
ncclResult_t NcclWatchdog::state() const {
  const std::unique_lock call(calls_, std::try_to_lock);
  ncclResult_t state = ncclInProgress;
  if (!call || comm_ == nullptr) return state;
  const ncclResult_t asked = api_.ncclCommGetAsyncError(comm_, &state);
  return asked == ncclSuccess ? state : asked;
}

void NcclWatchdog::fail(ExitCode code, const std::string& what) {
  const RankStatus& at = board_->ranks[size_t(rank_)];
  const std::string text = fmt::format("rank {} step {} bucket {}: {}", rank_, at.step.load(), at.bucket.load(), what);
  board_.report_error(rank_, int(code), text);
  log::error("{}", text);
  leave(code);
}

// The abort frees the GPU from a collective that will not end, so that the driver can take the process down. The host
// makes no more calls then, unless it is stuck in one.
void NcclWatchdog::leave(ExitCode code) {
  const std::unique_lock call(calls_, kCallPatience);
  if (comm_ != nullptr) abort_nccl(api_, comm_);
  ::_exit(int(code));
}

}  // namespace ddp
