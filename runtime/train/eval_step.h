// A model on a device as far as an evaluation needs it: parameters, state, input and the forward pass, without
// gradients and without an optimizer. A training step is one of these and what training adds (train_step.h), so that
// the two evaluate by the same code.
#pragma once

#include "kernels/op_table.h"
#include "runtime/config/config.h"
#include "runtime/device/arena.h"
#include "runtime/optim/optimizer.h"
#include "runtime/state/model.h"
#include "runtime/state/precision.h"
#include "runtime/train/input_stager.h"

namespace ddp {

class EvalStep {
 public:
  struct Parts {
    const Config& config;
    Device& device;
    const OpTable& table;
    const Model& model;
    WaitPolicy wait = {};
    OpObserver* observer = nullptr;
  };
  // Allocates all device memory that an evaluation needs but that of activations, which lie in `arena`: a dry run hands
  // in one that records what is taken from it, a run one that was planned from such a record.
  EvalStep(const Parts& parts, Arena& arena);
  EvalStep(const EvalStep&) = delete;
  EvalStep& operator=(const EvalStep&) = delete;
  // Ends only when what was enqueued has run: it uses memory of this object.
  ~EvalStep();

  // Enqueues an evaluation: eval_sums(), of which the first (micro-batch, num_eval_sums()) = each sample's, by LossSum.
  void enqueue_eval(const HostBatch& batch);
  // f64, flat, on the device: at least what an evaluation writes, and so much that ranks may add up many samples' at
  // once through it.
  TensorView eval_sums() const { return eval_sums_.view(); }
  int num_eval_sums() const { return parts_.model.num_eval_sums(); }
  // Blocks until all enqueued work is done; rethrows its first error.
  void drain();

  // f32 (flat elements): what a checkpoint holds. After they were set from outside, round_params().
  TensorView params() const { return params_.view(); }
  // f32 (flat elements of the model's state_layout()); empty where there is none.
  TensorView model_state() const { return state_ ? state_.view() : TensorView(); }
  // Enqueues the rounding of the parameters to what the model reads.
  void round_params();
  Stream& compute() { return compute_; }
  // Of a micro-batch: what batches that are handed in are laid out as.
  const BatchLayout& batch_layout() const { return batch_layout_; }
  const ParamLayout& layout() const { return parts_.model.layout(); }

  // Bytes of device memory by what they are for.
  struct Memory {
    int64_t params = 0, state = 0, grads = 0, optimizer = 0, input = 0, metrics = 0, eval_sums = 0;
  };
  Memory memory() const;  // that of training is 0

 protected:
  Parameters parameters() const;
  TensorView model_params() const;  // params_ or rounded_params_
  Exec exec() { return {.table = &parts_.table, .stream = &compute_, .observer = parts_.observer}; }
  InputStager& stager() { return stager_; }
  Arena& arena() { return arena_; }
  // For the destructors, of which that of a training step has more to keep.
  void wait_for_enqueued() noexcept;

 private:
  Parts parts_;
  Arena& arena_;
  BatchLayout batch_layout_;
  Stream compute_;
  Buffer<float> params_;
  Buffer<std::byte> rounded_params_;  // where the model reads 16 bits
  Buffer<float> state_;               // flat; none where the model has no state
  InputStager stager_;
  Buffer<double> eval_sums_;
};

}  // namespace ddp
