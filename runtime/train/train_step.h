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
#include "runtime/train/eval_step.h"
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

class TrainStep : public EvalStep {
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
  ~TrainStep();  // as that of the part that evaluates

  // Called for each micro-batch in turn; the batch is read before the next call.
  using NextBatch = std::function<const HostBatch&()>;
  // Enqueues step `number` and returns; metrics().entry(number).end is its end. `known` is the newest state that the
  // host has read: of this step, or of the one before, which may be running.
  void enqueue(int64_t number, const NextBatch& next, const GradReducer::Votes& votes, const StepState& known);
  // Enqueues that the next step starts from `state`, which is read when that runs.
  void set_state(const StepState& state, Stream& stream);

  Memory memory() const;

  Optimizer& optimizer() { return *optimizer_; }
  GradReducer& reducer() { return reducer_; }
  MetricsRing& metrics() { return metrics_; }
  const StepShape& shape() const { return shape_; }

 private:
  // What micro-step i does once its batch is there; the last one ends the step. The same work on the same addresses in
  // every step: what changes, it reads on the device. No `stamps` in a graph.
  void enqueue_micro_step(int i, MetricsRing::Entry* stamps);
  void enqueue_update(MetricsRing::Entry* stamps);
  void launch_micro_step(int i);  // the same as a graph, which is captured when it is first asked for

  Parts parts_;
  StepShape shape_;
  GradReducer reducer_;
  Buffer<StepScalars> scalars_;  // one
  std::unique_ptr<Optimizer> optimizer_;
  MetricsRing metrics_;
  const bool uses_graphs_;
  // The first step runs eagerly: NCCL connects and libraries choose their algorithms then, which no capture allows.
  bool is_warm_ = false;
  std::vector<std::optional<Graph>> graphs_;  // by GradReducer::first_alike; destroyed before all that they refer to
};

}  // namespace ddp
