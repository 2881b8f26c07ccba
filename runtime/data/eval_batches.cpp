#include "runtime/data/eval_batches.h"

#include <fmt/core.h>

#include <algorithm>
#include <numeric>

#include "runtime/base/check.h"
#include "runtime/base/error.h"

namespace ddp {

EvalBatches::EvalBatches(const DataSource& source, const BatchLayout& layout, const EvalOptions& options)
    : source_(source),
      options_(options),
      total_(std::min(options.batches, source.num_samples() / layout.num_samples())),
      batch_(layout) {
  if (total_ < 1)
    throw Error(ExitCode::data,
                fmt::format("data.valid holds {} samples, less than a micro-batch of {}", source.num_samples(),
                            layout.num_samples()),
                "give a longer file, a smaller train.micro_batch, or eval.every 0");
}

const HostBatch& EvalBatches::load(int64_t index) {
  DDP_CHECK(index >= 0 && index < total_, "micro-batch {} of {}", index, total_);
  const int64_t first = index * batch_.layout().num_samples();
  const std::span<int32_t> ids = batch_.sample_ids();
  std::iota(ids.begin(), ids.end(), int32_t(first));
  source_.fill(batch_, uint64_t(first));
  return batch_;
}

}  // namespace ddp
