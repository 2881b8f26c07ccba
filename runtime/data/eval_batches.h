// The samples of an evaluation: the first ones of the held-out file in file order, the same every time and for every
// number of ranks, so that losses of different steps and runs compare. Each is there once: where they end within the
// last micro-batch, its other samples are filler whose targets are ignored. Threads of its own prepare them ahead, from
// the start of an evaluation to its end; in between they rest.
#pragma once

#include <cstdint>
#include <optional>

#include "runtime/data/prefetcher.h"

namespace ddp {

struct EvalOptions {
  int64_t samples = 0;  // over all ranks, as eval.samples; 0: all of the source
  int rank = 0, num_ranks = 1;
  int64_t num_workers = 1;  // threads
  WaitPolicy wait = {};     // of next()
};

class EvalBatches {
 public:
  // `source` is in file order; it and `layout`, of a micro-batch, outlive this. Errors: os_resource (71) when no thread
  // can be started.
  EvalBatches(const DataSource& source, const BatchLayout& layout, const EvalOptions& options);

  // Over all ranks: eval.samples, or as many as there are; and the micro-batches that hold them.
  int64_t num_samples() const { return num_samples_; }
  int64_t total() const;
  // This rank's: [begin, end) of [0, total). Empty where there are more ranks than micro-batches.
  int64_t begin() const { return share_begin(options_.rank); }
  int64_t end() const { return share_begin(options_.rank + 1); }

  // An evaluation: start(), and next() for each micro-batch from begin() to end(). One that was left before its end is
  // the last.
  void start();
  // Valid until the next call. Its sample_ids count from the start of the evaluation. Errors: as DataSource::fill;
  // Aborted; hang (124).
  const HostBatch& next() { return prefetcher_->next().batch; }

 private:
  int64_t share_begin(int rank) const { return total() * rank / options_.num_ranks; }
  void prepare(int64_t index, HostBatch& batch) const;

  const DataSource& source_;
  const EvalOptions options_;
  const int64_t num_samples_, micro_batch_;
  std::optional<Prefetcher> prefetcher_;  // none where this rank has nothing
};

}  // namespace ddp
