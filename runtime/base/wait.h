// The one way to wait, between threads and between processes: a 32-bit word in memory (perhaps shared), a short spin,
// then a futex. Every wait has a deadline and polls the abort word at least every 100 ms, so that no dead peer can hang
// a rank.
#pragma once

#include <atomic>
#include <cstdint>

#include "runtime/base/clock.h"

namespace ddp {

using FutexWord = std::atomic<uint32_t>;
static_assert(sizeof(FutexWord) == 4 && FutexWord::is_always_lock_free);

// What every wait of one rank has in common. Copied by value; the abort word outlives all users.
struct WaitPolicy {
  const FutexWord* abort_word = nullptr;  // non-zero: another rank failed; nullptr: nobody to ask (tests, one process)
  int64_t timeout_ms = 600'000;           // of one wait, as Deadline counts it
  int spin_pauses = 200;                  // 0 when ranks outnumber cores: go to the futex at once
  // Changes while some rank of the run makes progress; nullptr: nobody to ask. A peer may write a checkpoint for longer
  // than any timeout.
  const std::atomic<uint32_t>* progress = nullptr;
};

// The deadline of one wait. It counts the time without progress of any rank in which this process ran: a job that was
// stopped and continued has not waited meanwhile.
class Deadline {
 public:
  explicit Deadline(const WaitPolicy& policy, int64_t now_ns = monotonic_ns());
  // To be called several times a second: of a longer time between two calls, one second counts.
  bool passed() { return left_ns() <= 0; }
  int64_t left_ns(int64_t now_ns = monotonic_ns());

 private:
  const std::atomic<uint32_t>* progress_;
  uint32_t seen_;
  int64_t timeout_ns_, left_ns_, last_ns_;
};

// For a thread that waits for work from its owner, who ends it; never for a wait on another process.
inline WaitPolicy no_deadline(int spin_pauses) { return {.timeout_ms = INT32_MAX, .spin_pauses = spin_pauses}; }

// Blocks until `word` != `seen`; returns the new value (acquire). `where` names the wait in the error, e.g. "barrier".
// Throws Aborted when the abort word is set, Error(hang) after the deadline.
uint32_t wait_while_equal(const FutexWord& word, uint32_t seen, const WaitPolicy& policy, const char* where);

// As above, until int32(word - target) >= 0: for words that only count up (and wrap).
void wait_until_reached(const FutexWord& word, uint32_t target, const WaitPolicy& policy, const char* where);

// Wakes every waiter of the word, in this process and in others that map it.
void wake_all(FutexWord& word);

}  // namespace ddp
