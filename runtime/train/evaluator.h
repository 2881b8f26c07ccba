// The loss on held-out samples, identical for every number of ranks: each micro-batch's loss is summed on its rank, all
// are gathered, and the host adds them in order.
#pragma once

#include <functional>

#include "runtime/comm/communicator.h"
#include "runtime/data/eval_batches.h"
#include "runtime/train/train_step.h"

namespace ddp {

class Evaluator {
 public:
  Evaluator(Device& device, Communicator& comm, TrainStep& step, EvalBatches& batches);

  // Mean loss a token (nats) of the parameters as of the work enqueued so far. Collective; blocks. `beat` is called
  // after each micro-batch: an evaluation may last longer than a hang is waited for.
  double run(const WaitPolicy& wait, const std::function<void()>& beat);

 private:
  Device& device_;
  Communicator& comm_;
  TrainStep& step_;
  EvalBatches& batches_;
  HostBuffer<double> host_sums_;
  Buffer<double> sums_;  // (micro-batches over all ranks); this rank's are set, the others' zero, before the all-reduce
  Event done_;
};

}  // namespace ddp
