#include "runtime/train/train_step.h"

#include <algorithm>
#include <cmath>

#include "runtime/optim/loss_scale.h"
#include "runtime/optim/lr_schedule.h"

namespace ddp {

StepShape step_shape(const Config& config, int ranks, const Model& model) {
  return {.micro_batch = config.train.micro_batch,
          .num_micro_steps = int(accumulation_steps(config, ranks)),
          .lanes_per_rank = config.train.deterministic ? int(num_lanes(config)) / ranks : 1,
          .targets_per_sample = model.targets_per_sample(),
          .global_targets = config.train.global_batch * model.targets_per_sample(),
          .bucket_bytes = std::llround(config.train.bucket_mb * 1024 * 1024),
          .num_statistics = model.state_layout().flat_elements(),
          .precision = precision_of(config.train)};
}

GradReducerOptions StepShape::reducer_options() const {
  return {.bucket_bytes = bucket_bytes,
          .num_micro_steps = num_micro_steps,
          .lanes_per_rank = lanes_per_rank,
          .type = precision.gradients,
          .num_statistics = num_statistics};
}

namespace {

GradReducerOptions reducer_options(const TrainStep::Parts& parts, const StepShape& shape) {
  GradReducerOptions options = shape.reducer_options();
  options.on_launch = parts.on_bucket;
  options.wait = parts.wait;
  return options;
}

}  // namespace

TrainStep::TrainStep(const Parts& parts, Arena& arena)
    : EvalStep({.config = parts.config,
                .device = parts.device,
                .table = parts.table,
                .model = parts.model,
                .wait = parts.wait,
                .observer = parts.observer},
               arena),
      parts_(parts),
      shape_(step_shape(parts.config, parts.ranks, parts.model)),
      reducer_(parts.device, parts.table, parts.comm, parts.model.layout(), reducer_options(parts, shape_)),
      scalars_(parts.device, 1),
      optimizer_(make_optimizer(parts.device, parts.model.layout(), parts.config.optimizer, compute())),
      metrics_(parts.device),
      uses_graphs_(parts.config.train.cuda_graph && parts.device.has_graphs()),
      graphs_(uses_graphs_ ? size_t(shape_.num_micro_steps) : 0) {
  const StepScalars first = {.state = {.loss_scale = initial_loss_scale(parts.config.train)}};
  compute().copy(scalars_.data(), &first, sizeof first);
  compute().synchronize(no_deadline(0));
}

TrainStep::~TrainStep() { wait_for_enqueued(); }

void TrainStep::set_state(const StepState& state, Stream& stream) {
  stream.copy(&scalars_.data()->state, &state, sizeof state);
}

void TrainStep::enqueue(int64_t number, const NextBatch& next, const GradReducer::Votes& votes,
                        const StepState& known) {
  const Config& config = parts_.config;
  const int64_t unknown = number - int64_t(known.attempted_step);
  DDP_CHECK(unknown == 0 || unknown == 1, "step {} is enqueued with the state of step {}", number,
            known.attempted_step);
  MetricsRing::Entry& entry = metrics_.entry(number);
  const bool as_graphs = uses_graphs_ && is_warm_;
  entry.has_stamps = !as_graphs;
  reducer_.begin_step(
      votes, next_learning_rates(config.schedule, config.optimizer.lr, config.train.steps, known.applied_steps),
      compute());
  for (int i = 0; i < shape_.num_micro_steps; ++i) {
    stager().upload(next(), compute(), parts_.wait);
    as_graphs ? launch_micro_step(i) : enqueue_micro_step(i, &entry);
  }
  metrics_.publish(number, compute());
  is_warm_ = true;
}

void TrainStep::enqueue_micro_step(int i, MetricsRing::Entry* stamps) {
  const GradReducer::Target target = reducer_.begin_micro_step(i);
  arena().begin(Program::train);
  parts_.model.train(exec(), arena(),
                     {.params = model_params(),
                      .grads = target.grads,
                      .accumulate = target.accumulate,
                      .batch = stager().batch(),
                      .attempted_step = &scalars_.data()->state.attempted_step,
                      .seed = uint32_t(parts_.config.train.seed),
                      .grad_scale = float(1.0 / double(shape_.global_targets)),
                      .loss_scale = &scalars_.data()->state.loss_scale,
                      .sums = target.sums,
                      .statistics = target.statistics,
                      .ready = [&](ParamId p) { reducer_.on_grad_ready(p, compute()); }});
  arena().end();
  reducer_.end_micro_step(compute());
  if (i + 1 == shape_.num_micro_steps) enqueue_update(stamps);
}

void TrainStep::enqueue_update(MetricsRing::Entry* stamps) {
  if (stamps != nullptr) stamps->backward_done.record(compute());
  reducer_.finish(compute());
  if (stamps != nullptr) stamps->reduced.record(compute());
  const TrainConfig& train = parts_.config.train;
  step_finalize(exec(), {.scalars = scalars_.data(),
                         .metrics = metrics_.on_device(),
                         .partials = reducer_.partials(),
                         .sums = reducer_.sums(),
                         .statistics = reducer_.statistics(),
                         .num_ranks = parts_.comm.size(),
                         .rates = reducer_.rates(),
                         .rule = {.clip_norm = train.clip_norm,
                                  .full_targets = double(shape_.global_targets),
                                  .scaling = loss_scaling(train)}});
  optimizer_->update(exec(), parameters(), {.flat = reducer_.gradients(), .chunk_begin = reducer_.chunk_begin()},
                     scalars_.data());
  if (model_state())
    update_state(exec(), {.state = model_state(),
                          .statistics = reducer_.statistics(),
                          .scalars = scalars_.data(),
                          .momentum = parts_.model.state_momentum(),
                          .num_micro_batches = train.global_batch / train.micro_batch});
}

void TrainStep::launch_micro_step(int i) {
  std::optional<Graph>& graph = graphs_[size_t(reducer_.first_alike(i))];
  if (graph)
    reducer_.skip_micro_step(i);
  else
    graph.emplace(compute(), [&] { enqueue_micro_step(i, nullptr); });
  graph->launch(compute());
}

TrainStep::Memory TrainStep::memory() const {
  const GradReducerBytes grads = grad_reducer_bytes(layout(), shape_.reducer_options());
  Memory memory = EvalStep::memory();
  memory.grads = grads.symmetric + grads.device;
  memory.optimizer = optimizer_->bytes();
  memory.metrics = metrics_.bytes() + scalars_.bytes();
  return memory;
}

}  // namespace ddp
