#include "runtime/train/evaluator.h"

#include <algorithm>

#include "runtime/base/error.h"

namespace ddp {

Evaluator::Evaluator(Device& device, Communicator& comm, EvalStep& step, Stream& communication, EvalBatches& batches)
    : comm_(comm),
      step_(step),
      communication_(communication),
      batches_(batches),
      sums_(device, batches.total() * step.batch_layout().num_samples() * step.num_eval_sums() + 1),
      sums_of_all_(device, sums_.count()),
      evaluated_(device) {}

std::optional<std::vector<double>> Evaluator::run(const WaitPolicy& wait, const std::function<bool()>& goes_on) {
  Stream& compute = step_.compute();
  const int64_t num_sums = step_.num_eval_sums(), of_batch = step_.batch_layout().num_samples() * num_sums;
  const int64_t broke_off = sums_.count() - 1;
  std::fill_n(sums_.data(), sums_.count(), 0.0);
  batches_.start();
  for (int64_t i = batches_.begin(); i < batches_.end(); ++i) {
    const HostBatch* batch = goes_on() ? next_batch() : nullptr;
    if (batch == nullptr) {
      sums_.data()[broke_off] = 1;
      break;
    }
    // Waits for earlier batches, since there are few buffers to stage them in: it is never far ahead of the device.
    step_.enqueue_eval(*batch);
    compute.copy(sums_.data() + i * of_batch, step_.eval_sums().data, of_batch * int64_t(sizeof(double)));
  }
  add_those_of_other_ranks(wait);
  if (sums_of_all_.data()[broke_off] > 0) return std::nullopt;
  std::vector<double> totals(size_t(num_sums), 0.0);
  for (int64_t i = 0; i < broke_off; ++i) totals[size_t(i % num_sums)] += sums_of_all_.data()[i];
  return totals;
}

const HostBatch* Evaluator::next_batch() {
  try {
    return &batches_.next();
  } catch (const Error& e) {
    if (e.code() == ExitCode::hang) throw;
    failure_ = std::current_exception();
    return nullptr;
  }
}

// Piece by piece, so that the device needs no memory for all samples, of which the plan does not know how many there
// are.
void Evaluator::add_those_of_other_ranks(const WaitPolicy& wait) {
  evaluated_.record(step_.compute());
  evaluated_.synchronize(wait);  // this rank's lie on the host, from where they are uploaded
  const TensorView on_device = step_.eval_sums();
  for (int64_t begin = 0; begin < sums_.count(); begin += on_device.numel()) {
    const TensorView piece = on_device.slice(0, std::min(on_device.numel(), sums_.count() - begin));
    communication_.copy(piece.data, sums_.data() + begin, piece.bytes());
    comm_.all_reduce(piece, communication_);  // adds zeros: exact
    communication_.copy(sums_of_all_.data() + begin, piece.data, piece.bytes());
  }
  communication_.synchronize(wait);
}

}  // namespace ddp
