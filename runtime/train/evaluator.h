// The model's sums over held-out samples, identical for every number of ranks: each sample's are made on its rank, all
// are gathered, and the host adds them in file order. So on the CPU they do not depend on the micro-batch either. It
// may last for minutes, so that it can be broken off: each rank leaves by itself when it is told to, and all learn of
// it where they gather.
#pragma once

#include <exception>
#include <functional>
#include <optional>
#include <vector>

#include "runtime/comm/communicator.h"
#include "runtime/data/eval_batches.h"
#include "runtime/train/eval_step.h"

namespace ddp {

class Evaluator {
 public:
  // `communication` is where the ranks' collectives run.
  Evaluator(Device& device, Communicator& comm, EvalStep& step, Stream& communication, EvalBatches& batches);

  // By LossSum, of the parameters as of the work enqueued so far; empty, on every rank, where some rank was not to go
  // on, or had no data (failure()), after which there is no other evaluation. Collective; blocks. `goes_on` is asked
  // before each micro-batch, and is where a rank gives a sign of life: an evaluation may last longer than a hang is
  // waited for.
  std::optional<std::vector<double>> run(const WaitPolicy& wait, const std::function<bool()>& goes_on);
  // Why this rank's data ended the evaluation; nullptr: they did not.
  std::exception_ptr failure() const { return failure_; }

 private:
  const HostBatch* next_batch();  // nullptr where there is none: failure_ says why
  void add_those_of_other_ranks(const WaitPolicy& wait);

  Communicator& comm_;
  EvalStep& step_;
  Stream& communication_;
  EvalBatches& batches_;
  // (samples over all ranks with the filler of the last micro-batch, sums), and one more, which counts the ranks that
  // broke off: what this rank adds, the others' samples being zero, and what all have added.
  HostBuffer<double> sums_, sums_of_all_;
  Event evaluated_;
  std::exception_ptr failure_;
};

}  // namespace ddp
