#include "runtime/train/evaluator.h"

#include <numeric>

namespace ddp {

Evaluator::Evaluator(Device& device, Communicator& comm, TrainStep& step, EvalBatches& batches)
    : device_(device),
      comm_(comm),
      step_(step),
      batches_(batches),
      host_sums_(device, batches.total()),
      sums_(device, batches.total()),
      done_(device) {}

double Evaluator::run(const WaitPolicy& wait, const std::function<void()>& beat) {
  Stream& compute = step_.compute();
  device_.fill_zero(sums_.data(), sums_.bytes(), compute.handle());
  for (int64_t i = batches_.begin(); i < batches_.end(); ++i) {
    step_.enqueue_eval(batches_.load(i), sums_.view().slice(i, 1));
    beat();  // a sign of life, since the line above waits for earlier batches: there are few buffers to stage them in
  }
  done_.record(compute);
  Stream& communication = step_.reducer().comm_stream();
  communication.wait(done_);
  comm_.all_reduce(sums_.view(), communication);  // adds zeros: exact
  device_.copy(host_sums_.data(), sums_.data(), sums_.bytes(), communication.handle());
  done_.record(communication);
  done_.synchronize(wait);
  const double tokens = double(batches_.total() * step_.shape().micro_batch * step_.shape().context);
  return std::accumulate(host_sums_.data(), host_sums_.data() + host_sums_.count(), 0.0) / tokens;
}

}  // namespace ddp
