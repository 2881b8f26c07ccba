#include "runtime/data/prefetcher.h"

#include <numeric>
#include <system_error>
#include <utility>

#include "runtime/base/check.h"
#include "runtime/base/clock.h"
#include "runtime/base/error.h"

namespace ddp {
namespace {

// A worker with nothing to do waits for the training loop, which may evaluate or be stopped for as long as it likes;
// the destructor ends that wait, so its deadline only has to be finite.
constexpr int64_t kIdleTimeoutMs = int64_t{365} * 24 * 3600 * 1000;

void set_turn(FutexWord& turn, uint32_t value) {
  turn.store(value, std::memory_order_release);
  wake_all(turn);
}

}  // namespace

Prefetcher::Prefetcher(const DataSource& source, const BatchLayout& layout, const PrefetchOptions& options)
    : source_(source), micro_batch_(layout.num_samples()), options_(options) {
  const PrefetchOptions& o = options_;
  DDP_CHECK(o.global_batch % (micro_batch_ * o.num_ranks) == 0, "global batch {}, micro-batch {}, {} ranks",
            o.global_batch, micro_batch_, o.num_ranks);
  DDP_CHECK(o.rank >= 0 && o.rank < o.num_ranks && o.first_step >= 1 && o.num_workers >= 1,
            "rank {} of {}, step {}, {} workers", o.rank, o.num_ranks, o.first_step, o.num_workers);
  for (int64_t i = 0; i < o.num_workers + 2; ++i) places_.push_back(std::make_unique<Place>(layout));
  try {
    for (int64_t w = 0; w < o.num_workers; ++w) workers_.emplace_back([this, w] { work(uint64_t(w)); });
  } catch (const std::system_error& e) {
    stop();
    throw Error(ExitCode::os_resource, std::string("cannot start a data thread: ") + e.what(),
                "lower data.num_workers");
  }
}

Prefetcher::~Prefetcher() { stop(); }

void Prefetcher::stop() {
  stop_.store(1, std::memory_order_release);
  for (const auto& place : places_) wake_all(place->turn);
  for (std::thread& worker : workers_) worker.join();
}

Prefetcher::Next Prefetcher::next() {
  if (next_ > 0)
    set_turn(place_of(next_ - 1).turn, free_turn(next_ - 1) + 2);  // the caller is done with the last batch
  const uint64_t index = next_++;
  Place& place = place_of(index);
  const int64_t begin = monotonic_ns();
  wait_until_reached(place.turn, free_turn(index) + 1, options_.wait, "data");
  if (place.error) std::rethrow_exception(std::exchange(place.error, nullptr));
  return {place.batch, ms_between(begin, monotonic_ns())};
}

void Prefetcher::prepare(uint64_t index, Place& place) const {
  const PrefetchOptions& o = options_;
  const uint64_t share = uint64_t(o.global_batch / o.num_ranks), accumulation = share / uint64_t(micro_batch_);
  const uint64_t step = uint64_t(o.first_step - 1) + index / accumulation;
  const uint64_t first_id = uint64_t(o.rank) * share + index % accumulation * uint64_t(micro_batch_);
  const std::span<int32_t> ids = place.batch.sample_ids();
  std::iota(ids.begin(), ids.end(), int32_t(first_id));
  source_.fill(place.batch, step * uint64_t(o.global_batch) + first_id);
  place.batch.derive();
}

// Worker w of W prepares batches w, w + W, w + 2W, ...: fixed, so that no lock hands them out.
void Prefetcher::work(uint64_t worker) {
  const WaitPolicy idle{.abort_word = &stop_, .timeout_ms = kIdleTimeoutMs, .spin_pauses = 0};
  for (uint64_t index = worker; stop_.load(std::memory_order_acquire) == 0; index += uint64_t(options_.num_workers)) {
    Place& place = place_of(index);
    try {
      wait_until_reached(place.turn, free_turn(index), idle, "data worker");
    } catch (const Aborted&) {
      return;
    }
    try {
      prepare(index, place);
    } catch (...) {
      place.error = std::current_exception();
    }
    set_turn(place.turn, free_turn(index) + 1);
  }
}

}  // namespace ddp
