// Trains with the real step on any device and op table: a run of one rank without data files, checkpoints or a
// launcher.
#pragma once

#include <memory>

#include "models/registry.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/state/init.h"
#include "runtime/train/dry_run.h"
#include "runtime/train/host_flat.h"
#include "runtime/train/train_step.h"
#include "tests/support/learnable_batch.h"

namespace ddp::test {

struct StepRunner {
  explicit StepRunner(const Config& c, std::unique_ptr<Device> on_device = make_cpu_device({.num_threads = 2}),
                      const OpTable& table = cpu_op_table(), ModelMakers makers = model_makers())
      : config(c),
        device(std::move(on_device)),
        model(make_model(c, device->kind(), makers)),
        plan(dry_run(c, 1, *model, device->kind())),
        comm(make_solo_comm(*device)),
        arena_memory(*device, plan.arena.arena_bytes),
        arena(plan.arena, arena_memory.data()),
        step({.config = config, .ranks = 1, .device = *device, .table = table, .comm = *comm, .model = *model}, arena),
        batch(step.batch_layout()) {
    step.drain();
    HostFlat params = host_params();
    ThreadPool pool({});
    init_params(model->layout(), params.values(), 1, pool);
    params.upload();
    if (step.model_state()) {
      HostFlat state = host_state();
      init_params(model->state_layout(), state.values(), 1, pool);
      state.upload();
    }
    step.round_params();
  }

  // One step on batches that depend on the step and the micro-step; returns its metrics.
  StepMetrics train(int64_t number) {
    int64_t micro_step = 0;
    return train(number, [&]() -> const HostBatch& {
      const auto seed = uint32_t(number * 100 + micro_step);
      if (model->language_model() != nullptr)
        fill_learnable(batch, model->language_model()->vocab(), seed, int32_t(micro_step * config.train.micro_batch));
      else
        fill_random(batch, seed);
      ++micro_step;
      return batch;
    });
  }

  // One step on these batches.
  StepMetrics train(int64_t number, const TrainStep::NextBatch& next) {
    step.enqueue(number, next, {}, known);
    step.metrics().entry(number).end.synchronize(kWait);
    const StepMetrics metrics = *step.metrics().entry(number).host.data();
    known = metrics.next;
    return metrics;
  }

  // Starts from a saved model instead of a random one.
  void load(const std::filesystem::path& path) {
    HostFlat params = host_params();
    std::optional<HostFlat> state;
    if (step.model_state()) state.emplace(host_state());
    load_model(path, {model->layout(), params.values().data(), model->state_layout(),
                      state ? state->values().data() : nullptr});
    params.upload();
    if (state) state->upload();
    step.round_params();
  }

  std::vector<float> params() {
    HostFlat host = host_params();
    host.download();
    return {host.values().begin(), host.values().end()};
  }

  // Empty where the model has none.
  std::vector<float> model_state() {
    if (!step.model_state()) return {};
    HostFlat host = host_state();
    host.download();
    return {host.values().begin(), host.values().end()};
  }

  static constexpr WaitPolicy kWait = {.timeout_ms = 60'000};
  Config config;
  std::unique_ptr<Device> device;
  std::unique_ptr<Model> model;
  DryRun plan;
  std::unique_ptr<Communicator> comm;
  Buffer<std::byte> arena_memory;
  Arena arena;
  TrainStep step;
  HostBatch batch;
  StepState known;  // after the steps so far

 private:
  HostFlat host_params() { return {*device, step.params(), step.compute(), kWait}; }
  HostFlat host_state() { return {*device, step.model_state(), step.compute(), kWait}; }
};

}  // namespace ddp::test
