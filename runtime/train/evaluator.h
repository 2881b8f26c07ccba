// The model's sums over held-out samples, identical for every number of ranks: each micro-batch's are made on its rank,
// all are gathered, and the host adds them in order. It may last for minutes, so that it can be broken off: each rank
// leaves by itself when it is told to, and all learn of it in the one all-reduce in which they meet.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "runtime/comm/communicator.h"
#include "runtime/data/eval_batches.h"
#include "runtime/train/train_step.h"

namespace ddp {

class Evaluator {
 public:
  Evaluator(Device& device, Communicator& comm, TrainStep& step, EvalBatches& batches);

  // By LossSum, of the parameters as of the work enqueued so far; empty, on every rank, where some rank was not to go
  // on. Collective; blocks. `goes_on` is asked before each micro-batch, and is where a rank gives a sign of life: an
  // evaluation may last longer than a hang is waited for.
  std::optional<std::vector<double>> run(const WaitPolicy& wait, const std::function<bool()>& goes_on);

 private:
  Communicator& comm_;
  TrainStep& step_;
  EvalBatches& batches_;
  const int64_t num_sums_;  // of a micro-batch
  HostBuffer<double> host_sums_;
  // (micro-batches over all ranks, sums) and one more: before the all-reduce this rank's are set and the others' zero;
  // the last one counts the ranks that broke off.
  Buffer<double> sums_;
  Event evaluated_;
};

}  // namespace ddp
