#include "runtime/data/eval_batches.h"

#include <algorithm>
#include <numeric>

#include "runtime/base/rounding.h"

namespace ddp {

EvalBatches::EvalBatches(const DataSource& source, const BatchLayout& layout, const EvalOptions& options)
    : source_(source),
      options_(options),
      num_samples_(options.samples > 0 ? std::min(options.samples, source.num_samples()) : source.num_samples()),
      micro_batch_(layout.num_samples()) {
  const auto share = uint64_t(end() - begin());
  if (share == 0) return;
  prefetcher_.emplace(layout, Prefetcher::Job{.prepare =
                                                  [this, share](uint64_t index, HostBatch& batch) {
                                                    prepare(begin() + int64_t(index % share), batch);
                                                  },
                                              .pass = share,
                                              .num_workers = options.num_workers,
                                              .wait = options.wait});
}

int64_t EvalBatches::total() const { return ceil_div(num_samples_, micro_batch_); }

void EvalBatches::start() {
  if (prefetcher_) prefetcher_->begin_pass();
}

void EvalBatches::prepare(int64_t index, HostBatch& batch) const {
  const int64_t first = index * micro_batch_;
  const std::span<int32_t> ids = batch.sample_ids();
  std::iota(ids.begin(), ids.end(), int32_t(first));
  source_.fill(batch, uint64_t(first));
  for (int64_t i = num_samples_ - first; i < micro_batch_; ++i) batch.ignore_targets(i);
}

}  // namespace ddp
