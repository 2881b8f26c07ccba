// One training step as work on a device: micro-batches forward and backward, overlapped reduction, update. The same
// code runs on every device and, on the meta device, is the dry run that plans memory.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "kernels/op_table.h"
#include "runtime/comm/communicator.h"
#include "runtime/config/config.h"
#include "runtime/optim/optimizer.h"
#include "runtime/reduce/grad_reducer.h"
#include "runtime/state/model.h"
#include "runtime/state/precision.h"
#include "runtime/train/input_stager.h"
#include "runtime/train/metrics_ring.h"

namespace ddp {

// What a step is made of, for one rank.
struct StepShape {
  int64_t micro_batch = 1;
  int num_micro_steps = 1;  // of this rank
  int lanes_per_rank = 1;
  int64_t targets_per_sample = 1, global_targets = 1;  // the latter of a full global batch
  int64_t bucket_bytes = 0;
  int64_t num_statistics = 0;  // elements of the model's state
  Precision precision;
  GradReducerOptions reducer_options() const;
};
StepShape step_shape(const Config& config, int ranks, const Model& model);

class TrainStep {
 public:
  struct Parts {
    const Config& config;
    int ranks;
    Device& device;
    const OpTable& table;
    Communicator& comm;
    const Model& model;
    WaitPolicy wait = {};
    OpObserver* observer = nullptr;
    std::function<void(int bucket)> on_bucket = {};  // a bucket's all-reduce is about to be enqueued
  };
  // Allocates all device memory that a step needs but that of activations. Those lie in `arena`: a dry run hands in one
  // that records what is taken from it, a run one that was planned from such a record.
  TrainStep(const Parts& parts, Arena& arena);
  // Ends only when what was enqueued has run: it uses memory of this object.
  ~TrainStep();

  // Called for each micro-batch in turn; the batch is read before the next call.
  using NextBatch = std::function<const HostBatch&()>;
  // Enqueues step `number` and returns; metrics().entry(number).end is its end. `known` is the newest state that the
  // host has read: of this step, or of the one before, which may be running.
  void enqueue(int64_t number, const NextBatch& next, const GradReducer::Votes& votes, const StepState& known);
  // Enqueues an evaluation: eval_sums(), of which the first (micro-batch, num_eval_sums()) = each sample's, by LossSum.
  void enqueue_eval(const HostBatch& batch);
  // f64, flat, on the device: at least what an evaluation writes, and so much that ranks may add up many samples' at
  // once through it.
  TensorView eval_sums() const { return eval_sums_.view(); }
  int num_eval_sums() const { return parts_.model.num_eval_sums(); }
  // Blocks until all enqueued work is done; rethrows its first error.
  void drain();

  // Enqueues that the next step starts from `state`, which is read when that runs.
  void set_state(const StepState& state, Stream& stream);

  // Bytes of device memory by what they are for.
  struct Memory {
    int64_t params = 0, state = 0, grads = 0, optimizer = 0, input = 0, metrics = 0;
  };
  Memory memory() const;

  // f32 (flat elements): what a checkpoint holds. After they were set from outside, round_params().
  TensorView params() const { return params_.view(); }
  // f32 (flat elements of the model's state_layout()); empty where there is none.
  TensorView model_state() const { return state_ ? state_.view() : TensorView(); }
  // Enqueues the rounding of the parameters to what the model reads.
  void round_params();
  Optimizer& optimizer() { return *optimizer_; }
  GradReducer& reducer() { return reducer_; }
  MetricsRing& metrics() { return metrics_; }
  Stream& compute() { return compute_; }
  const StepShape& shape() const { return shape_; }
  // Of a micro-batch: what batches that are handed in are laid out as.
  const BatchLayout& batch_layout() const { return batch_layout_; }
  const ParamLayout& layout() const { return parts_.model.layout(); }

 private:
  Parameters parameters() const;
  TensorView model_params() const;  // params_ or rounded_params_
  // What micro-step i does once its batch is there; the last one ends the step. The same work on the same addresses in
  // every step: what changes, it reads on the device. No `stamps` in a graph.
  void enqueue_micro_step(int i, MetricsRing::Entry* stamps);
  void enqueue_update(MetricsRing::Entry* stamps);
  void launch_micro_step(int i);  // the same as a graph, which is captured when it is first asked for
  Exec exec() { return {.table = &parts_.table, .stream = &compute_, .observer = parts_.observer}; }

  Parts parts_;
  Arena& arena_;
  StepShape shape_;
  BatchLayout batch_layout_;
  Stream compute_;
  Buffer<float> params_;
  Buffer<std::byte> rounded_params_;  // where the model reads 16 bits
  Buffer<float> state_;               // flat; none where the model has no state
  GradReducer reducer_;
  Buffer<StepScalars> scalars_;  // one
  std::unique_ptr<Optimizer> optimizer_;
  InputStager stager_;
  MetricsRing metrics_;
  Buffer<double> eval_sums_;
  const bool uses_graphs_;
  // The first step runs eagerly: NCCL connects and libraries choose their algorithms then, which no capture allows.
  bool is_warm_ = false;
  std::vector<std::optional<Graph>> graphs_;  // by GradReducer::first_alike; destroyed before all that they refer to
};

}  // namespace ddp
