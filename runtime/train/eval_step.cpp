#include "runtime/train/eval_step.h"

#include <algorithm>

namespace ddp {
namespace {

constexpr int64_t kLeastEvalSums = 4096;  // 32 KiB

Buffer<std::byte> rounded_buffer(const EvalStep::Parts& parts) {
  const Precision precision = precision_of(parts.config.train);
  if (!precision.has_master()) return {};
  return Buffer<std::byte>(parts.device,
                           parts.model.layout().flat_elements() * int64_t(dtype_bytes(precision.storage)));
}

Buffer<float> state_buffer(const EvalStep::Parts& parts) {
  const int64_t n = parts.model.state_layout().flat_elements();
  return n > 0 ? Buffer<float>(parts.device, n) : Buffer<float>();
}

}  // namespace

EvalStep::EvalStep(const Parts& parts, Arena& arena)
    : parts_(parts),
      arena_(arena),
      batch_layout_(parts.model.inputs(), parts.config.train.micro_batch),
      compute_(parts.device, StreamRole::compute),
      params_(parts.device, parts.model.layout().flat_elements()),
      rounded_params_(rounded_buffer(parts)),
      state_(state_buffer(parts)),
      stager_(parts.device, batch_layout_),
      eval_sums_(parts.device, std::max(kLeastEvalSums, parts.config.train.micro_batch * parts.model.num_eval_sums())) {
}

EvalStep::~EvalStep() { wait_for_enqueued(); }

void EvalStep::wait_for_enqueued() noexcept {
  try {
    compute_.synchronize(no_deadline(0));  // also when the run is aborted: what the work waits for ends by itself then
  } catch (...) {                          // the error has been reported, or is on its way already
  }
}

Parameters EvalStep::parameters() const {
  if (!rounded_params_) return {.master = params_.view(), .rounded = {}};
  const DType storage = precision_of(parts_.config.train).storage;
  return {.master = params_.view(), .rounded = {rounded_params_.data(), storage, {params_.count()}}};
}

TensorView EvalStep::model_params() const {
  const Parameters p = parameters();
  return p.rounded ? p.rounded : p.master;
}

void EvalStep::round_params() {
  const Parameters p = parameters();
  if (p.rounded) cast(exec(), {.y = p.rounded, .x = p.master});
}

void EvalStep::enqueue_eval(const HostBatch& batch) {
  const int64_t samples = batch_layout_.num_samples(), num_sums = num_eval_sums();
  stager_.upload(batch, compute_, parts_.wait);
  arena_.begin(Program::evaluate);
  parts_.model.evaluate(exec(), arena_,
                        {.params = model_params(),
                         .state = model_state(),
                         .batch = stager_.batch(),
                         .sums = eval_sums().slice(0, samples * num_sums).view({samples, num_sums})});
  arena_.end();
}

void EvalStep::drain() { compute_.synchronize(parts_.wait); }

EvalStep::Memory EvalStep::memory() const {
  return {.params = params_.bytes() + rounded_params_.bytes(),
          .state = state_.bytes(),
          .input = stager_.bytes(),
          .eval_sums = eval_sums_.bytes()};
}

}  // namespace ddp
