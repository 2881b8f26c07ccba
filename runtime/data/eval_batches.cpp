#include "runtime/data/eval_batches.h"

#include <algorithm>
#include <numeric>

#include "runtime/base/check.h"
#include "runtime/base/rounding.h"

namespace ddp {

EvalBatches::EvalBatches(const DataSource& source, const BatchLayout& layout, const EvalOptions& options)
    : source_(source),
      options_(options),
      total_(std::min(options.batches, ceil_div(source.num_samples(), layout.num_samples()))),
      batch_(layout) {}

const HostBatch& EvalBatches::load(int64_t index) {
  DDP_CHECK(index >= 0 && index < total_, "micro-batch {} of {}", index, total_);
  const int64_t first = index * batch_.layout().num_samples();
  const std::span<int32_t> ids = batch_.sample_ids();
  std::iota(ids.begin(), ids.end(), int32_t(first));
  source_.fill(batch_, uint64_t(first));
  for (int64_t i = source_.num_samples() - first; i < batch_.layout().num_samples(); ++i) batch_.ignore_targets(i);
  return batch_;
}

}  // namespace ddp
