// The samples of an evaluation: the first ones of the held-out file in file order, the same every time and for every
// number of ranks, so that losses of different steps and runs compare. Each is there once: where the file ends within
// the last micro-batch, its other samples are filler whose targets are ignored.
#pragma once

#include <cstdint>

#include "runtime/data/data_source.h"

namespace ddp {

struct EvalOptions {
  int64_t batches = 1;  // micro-batches over all ranks, as eval.batches
  int rank = 0, num_ranks = 1;
};

class EvalBatches {
 public:
  // `source` is in file order; it and `layout`, of a micro-batch, outlive this.
  EvalBatches(const DataSource& source, const BatchLayout& layout, const EvalOptions& options);

  // Micro-batches over all ranks: eval.batches, or as many as the file holds.
  int64_t total() const { return total_; }
  // This rank's: [begin, end) of [0, total). Empty where there are more ranks than micro-batches.
  int64_t begin() const { return share_begin(options_.rank); }
  int64_t end() const { return share_begin(options_.rank + 1); }
  // Micro-batch `index`; valid until the next call. Its sample_ids count from the start of the evaluation. Errors: as
  // fill.
  const HostBatch& load(int64_t index);

 private:
  int64_t share_begin(int rank) const { return total_ * rank / options_.num_ranks; }

  const DataSource& source_;
  const EvalOptions options_;
  int64_t total_;
  HostBatch batch_;
};

}  // namespace ddp
