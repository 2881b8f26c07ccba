// GradReducer: sums the gradients of a step over micro-steps and ranks, bucket by bucket, while backward still runs,
// and with them, in one more sum, losses, counts, votes and the model's statistics. It owns the flat gradient buffers
// and the communication stream. The trainer's use, on the host, all of it enqueued:
//
//   reducer.begin_step(votes, rates, compute);
//   for (int i = 0; i < num_micro_steps; ++i) {
//     const GradReducer::Target target = reducer.begin_micro_step(i);
//     ...forward, loss and backward into target on compute; the model announces on_grad_ready(p, compute)...
//     reducer.end_micro_step(compute);
//   }
//   reducer.finish(compute);  // what follows on compute may read gradients(), partials(), sums(), statistics()
//
// The order of summation: a lane adds its micro-steps in order, lanes add as lane_tree.h says, ranks as the
// communicator does. So ranks x lanes_per_rank = L gives the same bits for every number of ranks, when the ranks'
// micro-steps are contiguous.
#pragma once

#include <array>
#include <functional>
#include <vector>

#include "kernels/ops.h"
#include "runtime/board/board.h"
#include "runtime/comm/communicator.h"
#include "runtime/reduce/bucket_plan.h"
#include "runtime/state/param_layout.h"

namespace ddp {

struct GradReducerOptions {
  int64_t bucket_bytes = 25 << 20;
  int num_micro_steps = 1;     // of this rank in a step
  int lanes_per_rank = 1;      // a power of two that divides num_micro_steps; 1 unless deterministic
  DType type = DType::f32;     // of the gradients that are all-reduced; 16 bits only with one lane
  int64_t num_statistics = 0;  // elements of the model's state
  // Called on the host right before a bucket's all-reduce is enqueued; may be empty.
  std::function<void(int bucket)> on_launch{};
  WaitPolicy wait{};  // of the host's few waits
};

// What a GradReducer will take, for the plan and for ShmCommOptions::symmetric_bytes.
struct GradReducerBytes {
  int64_t symmetric = 0;  // Communicator::allocate_symmetric
  int64_t device = 0;     // Device::allocate: f32 sums over micro-steps, the buffers of further lanes, chunk tables
};
GradReducerBytes grad_reducer_bytes(const ParamLayout& layout, const GradReducerOptions& options);

class GradReducer {
 public:
  // Where a micro-step writes: "=" or, where accumulate, "+=" to all of it.
  struct Target {
    TensorView grads;       // flat, f32 or options.type; padding is zero and must stay so
    TensorView sums;        // f64 (kNumTrainSums) by LossSum
    TensorView statistics;  // f64 (num_statistics); empty where there are none
    bool accumulate;
  };
  // This rank's wishes, counted over ranks in the same step on every rank.
  struct Votes {
    bool stop = false, checkpoint = false;
  };

  // Collective. Device, table, communicator and layout outlive the reducer.
  GradReducer(Device& device, const OpTable& table, Communicator& comm, const ParamLayout& layout,
              GradReducerOptions options);
  GradReducer(const GradReducer&) = delete;
  GradReducer& operator=(const GradReducer&) = delete;

  // Brings the votes and the learning rates to the device, in one copy. It is the only call whose work depends on the
  // step: the others may be captured.
  void begin_step(const Votes& votes, const LearningRates& rates, Stream& compute);
  // Makes the step void on all ranks, so that it leaves parameters and states as they are: this rank has no batch for
  // it. Before its last micro-step is enqueued.
  void make_void(Stream& compute);
  // Micro-steps come in order, from 0. Those before the last only accumulate, the last one's announcements launch
  // buckets.
  Target begin_micro_step(int i);
  // Called once in the last micro-step for each parameter, when the last write to its gradient is enqueued (not
  // finished) on compute.
  void on_grad_ready(ParamId p, Stream& compute);
  void end_micro_step(Stream& compute);
  // Checks that every parameter was announced, reduces sums and votes, and lets compute wait for the last all-reduce.
  void finish(Stream& compute);

  // The first micro-step that enqueues the same work on the same addresses as micro-step i, so that one captured graph
  // serves both. In each lane the first micro-step writes "=", the middle ones "+=" and are all alike, and the last one
  // combines lanes or launches buckets: at most three graphs a lane.
  int first_alike(int i) const;
  // Called instead of begin_micro_step, on_grad_ready, end_micro_step and, after the last micro-step, finish, where a
  // graph replays their work.
  void skip_micro_step(int i);

  // Of all ranks after finish, in the order of compute, until the next step's first micro-step. Gradients, of
  // options.type (flat elements). Sums of squares, f64 (chunks). Sums and votes, f64 (kFirstMark + ranks) by LossSum
  // and StepSum; a single rank leaves no mark. Statistics, f64 (num_statistics).
  TensorView gradients() const { return {grads_, options_.type, {layout_.flat_elements()}}; }
  TensorView partials() const { return partials_.view(); }
  TensorView sums() const { return {vector_, DType::f64, {num_head()}}; }
  TensorView statistics() const { return statistics(0); }
  // On the device, as begin_step brought them.
  const LearningRates* rates() const { return rates_; }
  // ParamLayout::chunk_begin on the device, i64 (chunks + 1).
  TensorView chunk_begin() const { return chunk_begin_.view(); }

  const std::vector<Bucket>& buckets() const { return buckets_; }
  Stream& comm_stream() { return comm_stream_; }

 private:
  int lane_of(int micro_step) const { return micro_step / (options_.num_micro_steps / options_.lanes_per_rank); }
  TensorView grads(int buffer) const;
  int64_t num_head() const { return kFirstMark + comm_.size(); }  // head and marks
  TensorView sums(int buffer) const;                              // (kNumTrainSums)
  TensorView statistics(int buffer) const;
  void combine_grads(int lane, int64_t begin, int64_t end, Stream& stream);
  void combine_sums(int lane, Stream& stream);
  void launch(const Bucket& bucket, Stream& compute);
  void order_after(Stream& compute);

  Device& device_;
  const OpTable& table_;
  Communicator& comm_;
  const ParamLayout& layout_;
  const GradReducerOptions options_;
  const std::vector<Bucket> buckets_;
  std::vector<int> bucket_of_;  // by parameter

  void* grads_;  // symmetric: what is all-reduced
  // Symmetric, one block: rates | the vector that ranks sum, f64: sums and votes | marks | statistics. begin_step
  // writes all before the statistics; the vector's sums and statistics are those of buffer 0.
  LearningRates* rates_;
  double* vector_;
  Buffer<float> sum_;  // buffer 0 where 16-bit gradients are summed over micro-steps; elsewhere that is grads_
  std::vector<Buffer<float>> lane_grads_;  // buffers 1, 2, ...
  Buffer<double> lane_sums_;               // of buffers 1, 2, ...: sums | statistics
  Buffer<int64_t> chunk_begin_;
  Buffer<double> partials_, own_partials_;  // of the sum over ranks; of this rank's gradients

  Event grads_ready_, reduced_;
  // Host memory that begin_step copies from: two, since the host may be a step ahead of the device.
  struct StepSource {
    StepSource(Device& device, int num_ranks);
    HostBuffer<std::byte> block;  // as rates_ points to; the first micro-step writes the sums over
    Event copied;
  };
  std::array<StepSource, 2> step_sources_;
  HostBuffer<double> one_;  // what make_void copies from
  Stream comm_stream_;      // after all that its queued work refers to

  int64_t num_steps_ = 0;
  int next_micro_step_ = 0;
  std::vector<bool> announced_;   // by parameter
  std::vector<int> num_pending_;  // by bucket: parameters not yet announced
  size_t next_bucket_ = 0;        // the first not yet launched
};

}  // namespace ddp
