#include "runtime/data/prefetcher.h"

#include <numeric>
#include <utility>

#include "runtime/base/check.h"
#include "runtime/base/clock.h"
#include "runtime/base/error.h"
#include "runtime/base/start_thread.h"

namespace ddp {
namespace {

// A worker with nothing to do waits for the training loop, which may do something else or be stopped for as long as it
// likes; the destructor ends that wait, so its deadline only has to be finite.
constexpr int64_t kIdleTimeoutMs = int64_t{365} * 24 * 3600 * 1000;

void set_turn(FutexWord& turn, uint32_t value) {
  turn.store(value, std::memory_order_release);
  wake_all(turn);
}

Prefetcher::Job training(const DataSource& source, int64_t micro_batch, const PrefetchOptions& o) {
  DDP_CHECK(o.global_batch % (micro_batch * o.num_ranks) == 0, "global batch {}, micro-batch {}, {} ranks",
            o.global_batch, micro_batch, o.num_ranks);
  DDP_CHECK(o.rank >= 0 && o.rank < o.num_ranks && o.first_position >= 0, "rank {} of {}, position {}", o.rank,
            o.num_ranks, o.first_position);
  const auto prepare = [&source, micro_batch, o](uint64_t index, HostBatch& batch) {
    const uint64_t share = uint64_t(o.global_batch / o.num_ranks), accumulation = share / uint64_t(micro_batch);
    const uint64_t begin = uint64_t(o.first_position) + index / accumulation * uint64_t(o.global_batch);
    const uint64_t first_id = uint64_t(o.rank) * share + index % accumulation * uint64_t(micro_batch);
    const std::span<int32_t> ids = batch.sample_ids();
    std::iota(ids.begin(), ids.end(), int32_t(first_id));
    source.fill(batch, begin + first_id);
    batch.derive();
  };
  return {.prepare = prepare, .num_workers = o.num_workers, .wait = o.wait};
}

}  // namespace

Prefetcher::Prefetcher(const DataSource& source, const BatchLayout& layout, const PrefetchOptions& options)
    : Prefetcher(layout, training(source, layout.num_samples(), options)) {}

Prefetcher::Prefetcher(const BatchLayout& layout, Job job) : job_(std::move(job)) {
  const int64_t num_workers = job_.num_workers;
  DDP_CHECK(num_workers >= 1, "{} workers", num_workers);
  for (int64_t i = 0; i < num_workers + 2; ++i) places_.push_back(std::make_unique<Place>(layout));
  try {
    for (int64_t w = 0; w < num_workers; ++w)
      workers_.push_back(start_thread("a data thread", [this, w] { work(uint64_t(w)); }));
  } catch (...) {
    stop();
    throw;
  }
}

Prefetcher::~Prefetcher() { stop(); }

void Prefetcher::stop() {
  stop_.store(1, std::memory_order_release);
  wake_all(passes_);
  for (const auto& place : places_) wake_all(place->turn);
  for (std::thread& worker : workers_) worker.join();
}

Prefetcher::Next Prefetcher::next() {
  if (next_ > 0)
    set_turn(place_of(next_ - 1).turn, free_turn(next_ - 1) + 2);  // the caller is done with the last batch
  const uint64_t index = next_++;
  Place& place = place_of(index);
  const int64_t begin = monotonic_ns();
  wait_until_reached(place.turn, free_turn(index) + 1, job_.wait, "data");
  if (place.error) std::rethrow_exception(std::exchange(place.error, nullptr));
  return {place.batch, ms_between(begin, monotonic_ns())};
}

void Prefetcher::begin_pass() {
  const uint32_t begun = passes_.load(std::memory_order_relaxed);
  DDP_CHECK(job_.pass > 0 && next_ == begun * job_.pass, "pass {} begins at batch {}", begun + 1, next_);
  set_turn(passes_, begun + 1);
}

// Worker w of W prepares batches w, w + W, w + 2W, ...: fixed, so that no lock hands them out.
void Prefetcher::work(uint64_t worker) {
  const WaitPolicy idle{.abort_word = &stop_, .timeout_ms = kIdleTimeoutMs, .spin_pauses = 0};
  for (uint64_t index = worker; stop_.load(std::memory_order_acquire) == 0; index += uint64_t(job_.num_workers)) {
    Place& place = place_of(index);
    try {
      if (job_.pass > 0) wait_until_reached(passes_, uint32_t(index / job_.pass) + 1, idle, "data worker");
      wait_until_reached(place.turn, free_turn(index), idle, "data worker");
    } catch (const Aborted&) {
      return;
    }
    try {
      job_.prepare(index, place.batch);
    } catch (...) {
      place.error = std::current_exception();
    }
    set_turn(place.turn, free_turn(index) + 1);
  }
}

}  // namespace ddp
