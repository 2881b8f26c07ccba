// Prepares a rank's micro-batches ahead of who takes them, in order, on threads of its own, so that reading hides
// behind computing. A fixed ring of batches is filled and reused: no allocation after the constructor.
//
// In training the i-th step (from 0) takes stream positions first_position + [i * global_batch, (i+1) * global_batch);
// rank r of R the r-th R-th of them, cut into micro-batches in order.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "runtime/base/wait.h"
#include "runtime/data/data_source.h"

namespace ddp {

struct PrefetchOptions {
  int64_t global_batch = 1;  // samples; those of a micro-batch times num_ranks divide it
  int rank = 0, num_ranks = 1;
  int64_t first_position = 0;  // of the stream: the samples that were trained on before
  int64_t num_workers = 1;     // threads; the ring holds two batches more: one in use and one ready
  WaitPolicy wait;             // of next()
};

class Prefetcher {
 public:
  struct Job {
    // Fills the index-th batch, from 0. Any number of threads call it at once.
    std::function<void(uint64_t index, HostBatch& batch)> prepare;
    uint64_t pass = 0;  // batches after which the threads rest until begin_pass(), also at first; 0: they never do
    int64_t num_workers = 1;
    WaitPolicy wait = {};  // of next()
  };
  // `layout` outlives the prefetcher, as does what `prepare` uses. Errors: os_resource (71) when no thread can be
  // started.
  Prefetcher(const BatchLayout& layout, Job job);
  // That of training, which starts at once. `source` and `layout`, of a micro-batch, outlive the prefetcher. Errors: as
  // above.
  Prefetcher(const DataSource& source, const BatchLayout& layout, const PrefetchOptions& options);
  // Stops the threads: waits for reads in flight, at most a batch a thread.
  ~Prefetcher();
  Prefetcher(const Prefetcher&) = delete;
  Prefetcher& operator=(const Prefetcher&) = delete;

  struct Next {
    const HostBatch& batch;  // valid until the next call
    double wait_ms;          // how long the caller stood still for it
  };
  // The next micro-batch. For one thread. Throws what the source threw for this batch; Aborted; Error(hang) after the
  // deadline.
  Next next();
  // Lets the threads prepare the next pass. All batches of the one before were taken.
  void begin_pass();

 private:
  // A place of the ring. `turn` counts up: 2g, free for the g-th batch of this place; 2g + 1, that batch is ready.
  struct Place {
    explicit Place(const BatchLayout& layout) : batch(layout) {}
    HostBatch batch;
    std::exception_ptr error;
    FutexWord turn{0};
  };

  Place& place_of(uint64_t index) { return *places_[index % places_.size()]; }
  uint32_t free_turn(uint64_t index) const { return uint32_t(2 * (index / places_.size())); }
  void work(uint64_t worker);
  void stop();

  const Job job_;
  std::vector<std::unique_ptr<Place>> places_;
  FutexWord stop_{0};
  FutexWord passes_{0};  // begun so far
  uint64_t next_ = 0;    // index of the batch that next() returns
  std::vector<std::thread> workers_;
};

}  // namespace ddp
