// Runs a model's passes on the CPU device without the trainer: plan, arena, batch and stream in one place.
#pragma once

#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/op_table.h"
#include "runtime/state/model.h"

namespace ddp::test {

class ModelRunner {
 public:
  ModelRunner(const Model& model, int64_t batch, int64_t context, int64_t vocab, int threads = 1)
      : model_(model),
        device_(make_cpu_device({.num_threads = threads})),
        stream_(*device_, StreamRole::compute),
        params(size_t(model.layout().flat_elements())),
        grads(size_t(model.layout().flat_elements())),
        layout_(model.inputs(), batch),
        batch_(layout_),
        tokens(batch_.values<int32_t>("tokens")),
        targets(batch_.values<int32_t>("targets")),
        token_loss(tokens.size()),
        shape_{batch, context} {
    ThreadPool pool({.num_threads = threads});
    model.init(params, 1, pool);
    std::mt19937 random(3);
    for (int32_t& t : tokens) t = int32_t(random() % uint64_t(vocab));
    for (int32_t& t : targets) t = int32_t(random() % uint64_t(vocab));
    std::iota(batch_.sample_ids().begin(), batch_.sample_ids().end(), 0);
  }

  // Forward and backward of the batch; returns the ids in the order of their announcements. The loss summed in double.
  double train(bool accumulate = false, float grad_scale = 1.0f) {
    announced.clear();
    run(
        [&](const Exec& exec, Arena& arena) {
          model_.train(exec, arena,
                       {.params = flat(params),
                        .grads = flat(grads),
                        .accumulate = accumulate,
                        .batch = {layout_, batch_.bytes().data()},
                        .attempted_step = &attempted_step,
                        .seed = 5,
                        .grad_scale = grad_scale,
                        .token_loss = loss_view(),
                        .ready = [&](ParamId p) { announced.push_back(p.index); }});
        },
        Program::train);
    return sum();
  }
  double evaluate() {
    run(
        [&](const Exec& exec, Arena& arena) {
          model_.evaluate(
              exec, arena,
              {.params = flat(params), .batch = {layout_, batch_.bytes().data()}, .token_loss = loss_view()});
        },
        Program::evaluate);
    return sum();
  }
  std::vector<float> generate(int64_t position, int64_t padded_vocab) {
    std::vector<float> logits(size_t(padded_vocab), NAN);
    run(
        [&](const Exec& exec, Arena& arena) {
          model_.language_model()->generate(exec, arena,
                                            {.params = flat(params),
                                             .tokens = TensorView(tokens.data(), DType::i32, {1, shape_[1]}),
                                             .position = position,
                                             .logits = TensorView(logits.data(), DType::f32, {1, padded_vocab})});
        },
        Program::generate);
    return logits;
  }

  std::span<int32_t> sample_ids() { return batch_.sample_ids(); }

 private:
  static TensorView flat(std::vector<float>& values) { return {values.data(), DType::f32, {int64_t(values.size())}}; }

  const Model& model_;
  std::unique_ptr<Device> device_;
  Stream stream_;

 public:
  std::vector<float> params, grads;

 private:
  BatchLayout layout_;
  HostBatch batch_;

 public:
  std::span<int32_t> tokens, targets;  // of the batch
  std::vector<float> token_loss;
  std::vector<int> announced;
  uint32_t attempted_step = 1;

 private:
  TensorView loss_view() { return {token_loss.data(), DType::f32, {int64_t(token_loss.size())}}; }
  double sum() const { return std::accumulate(token_loss.begin(), token_loss.end(), 0.0); }

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

  Shape shape_;
};

}  // namespace ddp::test
