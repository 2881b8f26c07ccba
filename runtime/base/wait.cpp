#include "runtime/base/wait.h"

#include <immintrin.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "runtime/base/clock.h"
#include "runtime/base/error.h"

namespace ddp {
namespace {

constexpr int64_t kPollNs = 100'000'000;  // how often a sleeping wait looks at the abort word and the clock

void futex_sleep(const FutexWord& word, uint32_t seen, int64_t for_ns) {
  timespec t{for_ns / 1'000'000'000, for_ns % 1'000'000'000};
  syscall(SYS_futex, &word, FUTEX_WAIT, seen, &t, nullptr, 0);
}

uint32_t value_of(const std::atomic<uint32_t>* word) {
  return word == nullptr ? 0 : word->load(std::memory_order_relaxed);
}

template <class Done>
uint32_t wait(const FutexWord& word, const WaitPolicy& policy, const char* where, Done done) {
  uint32_t value = word.load(std::memory_order_acquire);
  for (int i = 0; i < policy.spin_pauses && !done(value); ++i) {
    _mm_pause();
    value = word.load(std::memory_order_acquire);
  }
  if (done(value)) return value;
  Deadline deadline(policy);
  while (!done(value)) {
    if (policy.abort_word != nullptr && policy.abort_word->load(std::memory_order_acquire) != 0) throw Aborted(where);
    const int64_t left = deadline.left_ns();
    if (left <= 0)
      throw Error(ExitCode::hang, std::string("waited ") + std::to_string(policy.timeout_ms / 1000) + " s in " + where);
    futex_sleep(word, value, left < kPollNs ? left : kPollNs);
    value = word.load(std::memory_order_acquire);
  }
  return value;
}

}  // namespace

Deadline::Deadline(const WaitPolicy& policy, int64_t now_ns)
    : progress_(policy.progress),
      seen_(value_of(policy.progress)),
      timeout_ns_(policy.timeout_ms * 1'000'000),
      left_ns_(timeout_ns_),
      last_ns_(now_ns) {}

int64_t Deadline::left_ns(int64_t now_ns) {
  constexpr int64_t kMostNs = 1'000'000'000;
  left_ns_ -= std::min(now_ns - std::exchange(last_ns_, now_ns), kMostNs);
  if (const uint32_t progress = value_of(progress_); progress != std::exchange(seen_, progress)) left_ns_ = timeout_ns_;
  return left_ns_;
}

uint32_t wait_while_equal(const FutexWord& word, uint32_t seen, const WaitPolicy& policy, const char* where) {
  return wait(word, policy, where, [seen](uint32_t value) { return value != seen; });
}

void wait_until_reached(const FutexWord& word, uint32_t target, const WaitPolicy& policy, const char* where) {
  wait(word, policy, where, [target](uint32_t value) { return int32_t(value - target) >= 0; });
}

void wake_all(FutexWord& word) { syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0); }

}  // namespace ddp
