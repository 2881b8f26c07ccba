#include "runtime/train/evaluator.h"

namespace ddp {

Evaluator::Evaluator(Device& device, Communicator& comm, TrainStep& step, EvalBatches& batches)
    : comm_(comm),
      step_(step),
      batches_(batches),
      num_sums_(step.num_eval_sums()),
      host_sums_(device, batches.total() * num_sums_ + 1),
      sums_(device, host_sums_.count()),
      evaluated_(device) {}

std::optional<std::vector<double>> Evaluator::run(const WaitPolicy& wait, const std::function<bool()>& goes_on) {
  Stream& compute = step_.compute();
  compute.zero(sums_.view());
  const int64_t broke_off = sums_.count() - 1;
  for (int64_t i = batches_.begin(); i < batches_.end(); ++i) {
    if (!goes_on()) {
      host_sums_.data()[broke_off] = 1;
      compute.copy(sums_.data() + broke_off, host_sums_.data() + broke_off, sizeof(double));
      break;
    }
    // Waits for earlier batches, since there are few buffers to stage them in: it is never far ahead of the device.
    step_.enqueue_eval(batches_.load(i), sums_.view().slice(i * num_sums_, num_sums_));
  }
  evaluated_.record(compute);
  Stream& communication = step_.reducer().comm_stream();
  communication.wait(evaluated_);
  comm_.all_reduce(sums_.view(), communication);  // adds zeros: exact
  communication.copy(host_sums_.data(), sums_.data(), sums_.bytes());
  communication.synchronize(wait);
  if (host_sums_.data()[broke_off] > 0) return std::nullopt;
  std::vector<double> totals(size_t(num_sums_), 0.0);
  for (int64_t i = 0; i < broke_off; ++i) totals[size_t(i % num_sums_)] += host_sums_.data()[i];
  return totals;
}

}  // namespace ddp
