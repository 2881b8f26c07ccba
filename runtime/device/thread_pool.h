// One pool of threads a compute stream, shared by all its kernels. parallel_for runs fixed blocks, so that results do
// not depend on the number of threads. No OpenMP: with 4 ranks x 2 threads on 2 cores libgomp's spinning does 1% of the
// work of a pool that sleeps, and its barriers drown ThreadSanitizer.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

#include "runtime/base/wait.h"

namespace ddp {

struct ThreadPoolOptions {
  int num_threads = 1;     // the caller of parallel_for counts as one
  int first_core = -1;     // pin thread i to the (first_core + i)-th allowed core; -1: do not pin
  int spin_pauses = 2000;  // before an idle thread sleeps; 0 when ranks outnumber cores
};

class ThreadPool {
 public:
  // Errors: os_resource (71) where a thread cannot be started.
  explicit ThreadPool(const ThreadPoolOptions& options);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return int(workers_.size()) + 1; }

  // Calls f(block) once for each block in [0, num_blocks), spread over the threads as they become free; returns when
  // all are done. Rethrows the first exception. One caller at a time; not to be nested.
  template <class F>
  void parallel_for(int64_t num_blocks, F&& f) {
    using Function = std::remove_reference_t<F>;
    if (num_blocks <= 1 || workers_.empty()) {
      for (int64_t i = 0; i < num_blocks; ++i) call<Function>(&f, i);
    } else {
      run(num_blocks, call<Function>, &f);
    }
  }

 private:
  using Body = void (*)(const void* body, int64_t block);
  // One copy of f for every number of threads: in a second one, the compiler may choose other additions to fuse with
  // multiplications.
  template <class F>
  [[gnu::noipa]] static void call(const void* f, int64_t block) {
    (*static_cast<const F*>(f))(block);
  }
  void run(int64_t num_blocks, Body call, const void* body);
  void work_loop(int index);
  void stop();  // ends the workers
  void take_blocks();

  ThreadPoolOptions options_;
  // The current job: written before generation_ is bumped, read after it is seen.
  Body call_ = nullptr;
  const void* body_ = nullptr;
  int64_t num_blocks_ = 0;
  bool quit_ = false;
  std::atomic<int64_t> next_block_{0};
  FutexWord generation_{0};  // bumped for each job
  FutexWord finished_{0};    // counts workers that left a job, ever
  std::mutex error_mutex_;
  std::exception_ptr error_;
  std::vector<std::thread> workers_;
};

// Pins the calling thread to the n-th core of those the process may use; false when there is none.
bool pin_this_thread(int n);

}  // namespace ddp
