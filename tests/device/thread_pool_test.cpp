#include "runtime/device/thread_pool.h"

#include <sched.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "runtime/device/cpu_device.h"

using namespace ddp;

TEST_CASE("parallel_for runs every block exactly once, for any number of threads") {
  for (int threads : {1, 2, 3, 5}) {
    for (int spin : {0, 200}) {
      ThreadPool pool({.num_threads = threads, .spin_pauses = spin});
      for (int64_t blocks : {0, 1, 2, 7, 1000}) {
        std::vector<std::atomic<int>> hits(static_cast<size_t>(blocks));
        pool.parallel_for(blocks, [&](int64_t i) { hits[size_t(i)].fetch_add(1); });
        for (const auto& h : hits) REQUIRE(h.load() == 1);
      }
    }
  }
}

TEST_CASE("many short jobs in a row neither lose nor repeat a block") {
  ThreadPool pool({.num_threads = 3, .spin_pauses = 50});
  std::atomic<int64_t> sum{0};
  for (int job = 0; job < 2000; ++job) pool.parallel_for(5, [&](int64_t i) { sum.fetch_add(i + 1); });
  REQUIRE(sum.load() == 2000 * 15);
}

TEST_CASE("an exception in a block reaches the caller, and the pool goes on") {
  ThreadPool pool({.num_threads = 3});
  REQUIRE_THROWS_WITH(pool.parallel_for(100,
                                        [](int64_t i) {
                                          if (i == 57) throw std::runtime_error("block 57");
                                        }),
                      "block 57");
  std::atomic<int> n{0};
  pool.parallel_for(10, [&](int64_t) { ++n; });
  REQUIRE(n.load() == 10);
}

TEST_CASE("pinned threads of a compute stream spread over the cores") {
  cpu_set_t allowed;
  sched_getaffinity(0, sizeof allowed, &allowed);
  if (CPU_COUNT(&allowed) < 2) return;
  const auto device = make_cpu_device({.num_threads = 2, .pin_threads = true, .first_core = 0});
  Stream stream(*device, StreamRole::compute);
  std::mutex mutex;
  std::set<int> cores;
  std::atomic<int> arrived{0};
  cpu_enqueue(stream, [&](ThreadPool& pool) {
    pool.parallel_for(2, [&](int64_t) {
      ++arrived;
      while (arrived.load() < 2) std::this_thread::yield();  // one block a thread
      const std::lock_guard lock(mutex);
      cores.insert(sched_getcpu());
    });
  });
  Event done(*device);
  done.record(stream);
  done.synchronize({.timeout_ms = 60'000});
  REQUIRE(cores.size() == 2);
}
