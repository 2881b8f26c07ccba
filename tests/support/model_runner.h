// Runs a model's passes on the CPU device without the trainer: plan, arena, batch and stream in one place.
#pragma once

#include <cmath>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/op_table.h"
#include "runtime/state/init.h"
#include "runtime/state/model.h"
#include "tests/support/learnable_batch.h"

namespace ddp::test {

class ModelRunner {
 public:
  ModelRunner(const Model& model, int64_t batch_size, int threads = 1)
      : model_(model),
        device_(make_cpu_device({.num_threads = threads})),
        stream_(*device_, StreamRole::compute),
        layout_(model.inputs(), batch_size),
        params(size_t(model.layout().flat_elements())),
        grads(params.size()),
        state(size_t(model.state_layout().flat_elements())),
        statistics(state.size()),
        sums(size_t(batch_size * model.num_eval_sums())),
        batch(layout_) {
    ThreadPool pool({.num_threads = threads});
    init_params(model.layout(), params, 1, pool);
    init_params(model.state_layout(), state, 1, pool);
    fill_random(batch, 3);
  }

  // Forward and backward of the batch; `announced` has the ids in the order of their announcements. Returns the sum of
  // the losses.
  double train(bool accumulate = false, float grad_scale = 1.0f) {
    run(
        [&](const Exec& exec, Arena& arena) {
          model_.train(exec, arena,
                       {.params = flat(params),
                        .grads = flat(grads),
                        .accumulate = accumulate,
                        .batch = device_batch(),
                        .attempted_step = &attempted_step,
                        .seed = 5,
                        .grad_scale = grad_scale,
                        .sums = TensorView(sums.data(), DType::f64, {kNumTrainSums}),
                        .statistics = flat(statistics),
                        .ready = [&](ParamId p) { announced.push_back(p.index); }});
        },
        Program::train);
    return sums[kLossSum];
  }
  // Returns the sum of the losses; `sums` has those of each sample.
  double evaluate() {
    run(
        [&](const Exec& exec, Arena& arena) {
          model_.evaluate(exec, arena,
                          {.params = flat(params),
                           .state = flat(state),
                           .batch = device_batch(),
                           .sums = flat(sums).view({layout_.num_samples(), model_.num_eval_sums()})});
        },
        Program::evaluate);
    return total(kLossSum);
  }
  // Of an evaluation, over its samples.
  double total(int sum) const {
    double total = 0;
    for (size_t i = size_t(sum); i < sums.size(); i += size_t(model_.num_eval_sums())) total += sums[i];
    return total;
  }
  std::vector<float> generate(int64_t position) {
    const LanguageModel& writer = *model_.language_model();
    std::vector<float> logits(size_t(writer.padded_vocab()), NAN);
    run(
        [&](const Exec& exec, Arena& arena) {
          writer.generate(exec, arena,
                          {.params = flat(params),
                           .tokens = batch.view("tokens").rows(0, 1),
                           .position = position,
                           .logits = flat(logits).view({1, writer.padded_vocab()})});
        },
        Program::generate);
    return logits;
  }

 private:
  template <class T>
  static TensorView flat(std::vector<T>& values) {
    return values.empty() ? TensorView() : TensorView(values.data(), kDTypeOf<T>, {int64_t(values.size())});
  }
  Batch device_batch() { return {layout_, batch.bytes().data()}; }

  // Plans on the meta device, then runs in an arena full of NaN.
  template <class F>
  void run(F pass, Program program) {
    const auto meta = make_meta_device();
    Stream dry_stream(*meta, StreamRole::compute);
    Arena recording;
    recording.begin(program);
    pass(Exec{.table = &meta_op_table(), .stream = &dry_stream}, recording);
    recording.end();
    announced.clear();
    const ArenaPlan plan = recording.plan();
    std::vector<float> memory(size_t(plan.arena_bytes / 4), NAN);
    Arena arena(plan, reinterpret_cast<std::byte*>(memory.data()));
    arena.begin(program);
    pass(Exec{.table = &cpu_op_table(), .stream = &stream_}, arena);
    arena.end();
    stream_.synchronize({.timeout_ms = 60'000});
  }

  const Model& model_;
  std::unique_ptr<Device> device_;
  Stream stream_;
  BatchLayout layout_;

 public:
  std::vector<float> params, grads, state;  // flat
  std::vector<double> statistics, sums;     // the latter of training, or (B, num_eval_sums()) of an evaluation
  HostBatch batch;
  std::vector<int> announced;
  uint32_t attempted_step = 1;
};

}  // namespace ddp::test
