#include "runtime/train/evaluator.h"

#include <numeric>

namespace ddp {

Evaluator::Evaluator(Device& device, Communicator& comm, TrainStep& step, EvalBatches& batches)
    : device_(device),
      comm_(comm),
      step_(step),
      batches_(batches),
      host_sums_(device, batches.total() + 1),
      sums_(device, batches.total() + 1),
      evaluated_(device) {}

std::optional<double> Evaluator::run(const WaitPolicy& wait, const std::function<bool()>& goes_on) {
  Stream& compute = step_.compute();
  compute.zero(sums_.view());
  const int64_t total = batches_.total();
  for (int64_t i = batches_.begin(); i < batches_.end(); ++i) {
    if (!goes_on()) {
      host_sums_.data()[total] = 1;
      compute.copy(sums_.data() + total, host_sums_.data() + total, sizeof(double));
      break;
    }
    // Waits for earlier batches, since there are few buffers to stage them in: it is never far ahead of the device.
    step_.enqueue_eval(batches_.load(i), sums_.view().slice(i, 1));
  }
  evaluated_.record(compute);
  Stream& communication = step_.reducer().comm_stream();
  communication.wait(evaluated_);
  comm_.all_reduce(sums_.view(), communication);  // adds zeros: exact
  communication.copy(host_sums_.data(), sums_.data(), sums_.bytes());
  communication.synchronize(wait);
  if (host_sums_.data()[total] > 0) return std::nullopt;
  const double targets = double(total * step_.shape().micro_batch * step_.shape().targets_per_sample);
  return std::accumulate(host_sums_.data(), host_sums_.data() + total, 0.0) / targets;
}

}  // namespace ddp
