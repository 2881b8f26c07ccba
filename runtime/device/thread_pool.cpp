#include "runtime/device/thread_pool.h"

#include <sched.h>

#include <utility>

#include "runtime/base/start_thread.h"

namespace ddp {
bool pin_this_thread(int n) {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return false;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (!CPU_ISSET(core, &allowed) || n-- > 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    return sched_setaffinity(0, sizeof one, &one) == 0;
  }
  return false;
}

ThreadPool::ThreadPool(const ThreadPoolOptions& options) : options_(options) {
  try {
    for (int i = 1; i < options.num_threads; ++i)
      workers_.push_back(start_thread("a compute thread", [this, i] { work_loop(i); }));
  } catch (...) {
    stop();
    throw;
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  quit_ = true;
  generation_.fetch_add(1, std::memory_order_release);
  wake_all(generation_);
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run(int64_t num_blocks, Body call, const void* body) {
  call_ = call;
  body_ = body;
  num_blocks_ = num_blocks;
  next_block_.store(0, std::memory_order_relaxed);
  const uint32_t all_left = finished_.load(std::memory_order_relaxed) + uint32_t(workers_.size());
  generation_.fetch_add(1, std::memory_order_release);
  wake_all(generation_);
  take_blocks();
  // Every worker must have left before the job's body goes out of scope.
  wait_until_reached(finished_, all_left, no_deadline(options_.spin_pauses), "thread pool");
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void ThreadPool::take_blocks() {
  try {
    for (;;) {
      const int64_t block = next_block_.fetch_add(1, std::memory_order_relaxed);
      if (block >= num_blocks_) return;
      call_(body_, block);
    }
  } catch (...) {
    const std::lock_guard lock(error_mutex_);
    if (!error_) error_ = std::current_exception();
  }
}

void ThreadPool::work_loop(int index) {
  if (options_.first_core >= 0) pin_this_thread(options_.first_core + index);
  for (uint32_t seen = 0;;) {
    seen = wait_while_equal(generation_, seen, no_deadline(options_.spin_pauses), "idle thread");
    if (quit_) return;
    take_blocks();
    finished_.fetch_add(1, std::memory_order_release);
    wake_all(finished_);
  }
}

}  // namespace ddp
