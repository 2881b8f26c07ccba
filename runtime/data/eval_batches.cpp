#include "runtime/data/eval_batches.h"

#include <fmt/core.h>

#include <algorithm>
#include <numeric>

#include "runtime/base/check.h"
#include "runtime/base/error.h"

namespace ddp {

EvalBatches::EvalBatches(const DataSource& source, const EvalOptions& options)
    : source_(source),
      options_(options),
      total_(std::min(options.batches, source.num_samples() / options.micro_batch)),
      batch_(options.micro_batch, options.context) {
  if (total_ < 1)
    throw Error(ExitCode::data,
                fmt::format("data.valid holds {} samples of {} tokens, less than a micro-batch of {}",
                            source.num_samples(), options.context, options.micro_batch),
                "give a longer file, a smaller train.micro_batch, or eval.every 0");
}

const HostBatch& EvalBatches::load(int64_t index) {
  DDP_CHECK(index >= 0 && index < total_, "micro-batch {} of {}", index, total_);
  const int64_t first = index * options_.micro_batch;
  std::iota(batch_.sample_ids.begin(), batch_.sample_ids.end(), int32_t(first));
  source_.fill(batch_, uint64_t(first));
  return batch_;
}

}  // namespace ddp
