#include "runtime/train/trainer.h"

#include <cmath>
#include <filesystem>
#include <utility>

#include "runtime/base/clock.h"
#include "runtime/base/cores.h"
#include "runtime/base/log.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/metrics/text.h"
#include "runtime/state/finite.h"
#include "runtime/train/eval_record.h"
#include "runtime/train/first_rank_value.h"
#include "runtime/train/source_request.h"
#include "runtime/train/start.h"

namespace ddp {
namespace {

constexpr int kMaxMissedCommits = 3;  // in a row; then the run ends with io (74)

bool is_due(int64_t every, int64_t step) { return every > 0 && step % every == 0; }

// At a step of the schedule and at the end of the run; not where it happens to be stopped, so that a run in pieces has
// the evaluations of an unbroken one.
bool is_evaluation_due(const Config& config, int64_t step) {
  return is_due(config.eval.every, step) || (config.eval.every > 0 && step == config.train.steps);
}

}  // namespace

Trainer::Trainer(const Parts& parts)
    : parts_(parts),
      arena_memory_(parts.device, parts.plan.arena.arena_bytes),
      arena_(parts.plan.arena, arena_memory_.data()),
      step_({.config = parts.config,
             .ranks = parts.env.world_size,
             .device = parts.device,
             .table = parts.table,
             .comm = parts.comm,
             .model = parts.model,
             .wait = parts.wait,
             .on_bucket =
                 [this](int bucket) {
                   status().bucket.store(bucket, std::memory_order_relaxed);
                   set_phase(Phase::backward);
                 }},
            arena_),
      train_source_(open(Split::train)) {}

std::unique_ptr<DataSource> Trainer::open(Split split) {
  const bool is_train = split == Split::train;
  SourceRequest request = source_request(parts_.config, split, step_.batch_layout());
  request.index = run_folder() / (is_train ? "train.index" : "valid.index");
  request.still_alive = [this] { status().heartbeat_ns.store(monotonic_ns(), std::memory_order_relaxed); };
  const SourceMaker& maker = find_maker(parts_.sources, parts_.config.data.format, request.batch);
  if (maker.prepare != nullptr) {
    if (is_first_rank()) maker.prepare(request);
    meet();
  }
  return maker.open(request);
}

void Trainer::meet() {
  Stream& stream = step_.reducer().comm_stream();
  parts_.comm.barrier(stream);
  stream.synchronize(parts_.wait);
}

std::filesystem::path Trainer::verdict_of(Split split) const {
  return run_folder() / (split == Split::train ? "train.checked" : "valid.checked");
}

void Trainer::check_data() {
  if (!is_first_rank()) return;
  std::vector<const DataSource*> unchecked;
  int64_t bytes = 0;
  for (const DataSource* source : {train_source_.get(), valid_source_.get()}) {
    const int64_t more = source == nullptr ? 0 : source->unchecked_bytes(verdict_of(source->split()));
    if (more > 0) unchecked.push_back(source);
    bytes += more;
  }
  const auto check = [this, unchecked](DataCheck how) {
    for (const DataSource* source : unchecked) {
      how.verdict = verdict_of(source->split());
      source->check(how);
    }
  };
  if (bytes <= parts_.checked_first_bytes)
    check({.threads = usable_cores(),  // also the other ranks', which only wait
           .still_alive = [this] { status().heartbeat_ns.store(monotonic_ns(), std::memory_order_relaxed); }});
  else
    check_.emplace([check](const std::atomic<bool>& stop) { check({.stop = &stop}); });
}

void Trainer::load() {
  const Config& config = parts_.config;
  if (config.eval.every > 0) {
    valid_source_ = open(Split::valid);
    eval_batches_.emplace(*valid_source_, step_.batch_layout(),
                          EvalOptions{.samples = config.eval.samples,
                                      .rank = parts_.env.rank,
                                      .num_ranks = parts_.env.world_size,
                                      .num_workers = config.data.num_workers,
                                      .wait = parts_.wait});
    evaluator_.emplace(parts_.device, parts_.comm, step_, step_.reducer().comm_stream(), *eval_batches_);
  }
  check_data();
  const StartRequest request{.config = config,
                             .resume = parts_.env.resume,
                             .accepted = parts_.env.accepted,
                             .data_fingerprint = train_source_->fingerprint()};
  try {
    state_ = start_run(request, parts_.model, parts_.device, parts_.comm, step_, parts_.wait);
  } catch (const OtherData&) {
    parts_.board->refuses_data.store(1);
    throw;
  }
  std::vector<KeyChange> changes;
  if (is_first_rank() && state_.step() > 0) changes = changes_since(state_, request);
  state_.data_fingerprint = request.data_fingerprint;
  state_.config_digest = config_digest(config);
  state_.config_yaml = to_yaml(config);
  first_step_ = state_.step() + 1;
  status().step.store(state_.step(), std::memory_order_relaxed);
  prefetcher_.emplace(*train_source_, step_.batch_layout(),
                      PrefetchOptions{.global_batch = config.train.global_batch,
                                      .rank = parts_.env.rank,
                                      .num_ranks = parts_.env.world_size,
                                      .first_position = state_.samples_seen,
                                      .num_workers = config.data.num_workers,
                                      .wait = parts_.wait});
  if (is_first_rank()) open_outlets(changes);
  if (config.checkpoint.best != BestBy::none) find_best_so_far();
  status().memory_bytes.store(parts_.plan.device_bytes());
  status().loaded_ns.store(monotonic_ns());
}

void Trainer::open_outlets(std::span<const KeyChange> changes) {
  outlets_.emplace(RunOutlets::Run{.folder = run_folder(),
                                   .config_yaml = state_.config_yaml,
                                   .resume = parts_.env.resume,
                                   .resumed_step = state_.step(),
                                   .log_every = parts_.config.log.every});
  parts_.board->metrics_from.store(outlets_->jsonl().begin());
  if (parts_.config.train.cuda_graph && !parts_.device.has_graphs())
    outlets_->console().line(
        "train.cuda_graph has no effect on this device, which has no graphs: the results are the same");
  if (eval_batches_)
    outlets_->console().line(fmt::format("each evaluation is of {} of the {} samples of {} (eval.samples)",
                                         eval_batches_->num_samples(), valid_source_->num_samples(),
                                         parts_.config.data.valid.text()));
  if (state_.step() > 0) outlets_->console().line(fmt::format("resumed after step {}", state_.step()));
  for (const KeyChange& c : changes) outlets_->write(ChangeRecord{first_step_, c.key, c.before, c.after});
  if (std::filesystem::exists(checkpoints() / step_name(state_.step()))) committed_step_ = state_.step();
}

void Trainer::find_best_so_far() {
  const BestBy by = parts_.config.checkpoint.best;
  const auto found =
      is_first_rank() ? best_evaluation(by, run_folder() / kMetricsFile, state_.step()) : BestEvaluation();
  best_.emplace(by, first_rank_value(parts_.device, parts_.comm, step_.reducer().comm_stream(), parts_.wait, found));
  keep_best();
}

void Trainer::conclude() {
  if (outlets_) outlets_->conclude();
}

ExitCode Trainer::run() {
  load();
  const Config& config = parts_.config;
  const int64_t asked = parts_.env.stop_after;
  const int64_t last = asked > 0 ? std::min(asked, config.train.steps) : config.train.steps;
  started_ns_ = last_end_ns_ = monotonic_ns();
  if (first_step_ > last && outlets_)
    outlets_->console().line(fmt::format("nothing to do: the run is at step {}, and was to go to {}{}", state_.step(),
                                         last, last == config.train.steps ? "; raise train.steps for more" : ""));
  if (state_.step() > 0) make_up_evaluation();
  for (int64_t step = first_step_; step <= last && !stop_; ++step) {
    enqueue(step);
    if (step > first_step_) finish(step - 1);
    const bool commit_due = is_due(config.checkpoint.every, step), eval_due = is_evaluation_due(config, step);
    if (step != first_step_ && step != last && !stop_ && !checkpoint_asked_ && !eval_due && !commit_due) continue;
    finish(step);  // may decide to stop here
    if (is_void_) break;
    if (step == config.train.steps) check_progress();
    const bool is_last = step == last || stop_;
    const bool is_end_committed = is_last && (config.checkpoint.last || stop_ || step == asked);
    if (commit_due || checkpoint_asked_ || is_end_committed) commit(step, is_last);
    if (eval_due) evaluate(step);  // may stop here
    if (stop_) commit(step, true);
  }
  if (is_void_ && state_.step() > 0) commit(state_.step(), true);
  // A run that was resumed at or past its end has nothing to do, but what it would leave is there already.
  meet();  // what is to be committed is
  if (data_error_) fail_of_data();
  meet();  // or another rank's data failed
  tell_corrupt();
  const bool complete = state_.step() >= config.train.steps && !owes_evaluation_;
  conclude();
  if (is_first_rank()) summarize();
  set_phase(Phase::finished);
  return complete ? ExitCode::complete : ExitCode::stopped_early;
}

void Trainer::enqueue(int64_t step) {
  status().step.store(step, std::memory_order_relaxed);
  status().bucket.store(-1, std::memory_order_relaxed);
  double& wait_ms = data_wait_ms_[size_t(step) % data_wait_ms_.size()];
  wait_ms = 0;
  if (check_ && !data_error_) data_error_ = check_->failure();
  step_.enqueue(
      step, [&]() -> const HostBatch& { return next_batch(wait_ms); },
      {.stop = data_error_ || parts_.board->stop_requested.load(std::memory_order_relaxed) != 0,
       .checkpoint = is_checkpoint_requested()},
      state_.next);
}

// Only this rank knows that it has no batch: the others are in the step, which none of them must leave. So it takes
// part, and all learn from the metrics that the step is void.
const HostBatch& Trainer::next_batch(double& wait_ms) {
  set_phase(Phase::data_wait);
  if (!blank_) {
    try {
      const Prefetcher::Next n = prefetcher_->next();
      wait_ms += n.wait_ms;
      set_phase(Phase::forward);
      return n.batch;
    } catch (const Error& e) {
      if (e.code() == ExitCode::hang) throw;
      data_error_ = std::current_exception();
      blank_.emplace(step_.batch_layout());
    }
  }
  step_.reducer().make_void(step_.compute());
  set_phase(Phase::forward);
  return *blank_;
}

void Trainer::fail_of_data() {
  set_phase(Phase::data_wait);
  const int64_t step = state_.step();
  try {
    std::rethrow_exception(data_error_);
  } catch (const Error& e) {
    throw Error(e.code(), e.what(), step > 0 ? fmt::format("step {} is committed", step) : "");
  }
}

void Trainer::finish(int64_t step) {
  if (state_.step() >= step) return;
  set_phase(Phase::update);
  MetricsRing::Entry& entry = step_.metrics().entry(step);
  entry.end.synchronize(parts_.wait);
  const StepMetrics& m = *entry.host.data();
  DDP_CHECK(m.step() == step, "metrics of step {} where step {} was expected", m.step(), step);
  if (m.update == kVoid) {
    is_void_ = stop_ = true;
    return;
  }
  const std::optional<SkippedUpdate> skipped = skipped_update(m);
  if (skipped) stop_at_collapse(m, *skipped);

  state_.next = m.next;
  state_.samples_seen += parts_.config.train.global_batch;
  stop_ = stop_ || m.stop_votes > 0;
  checkpoint_asked_ = checkpoint_asked_ || m.checkpoint_votes > 0;

  const int64_t now = monotonic_ns();
  const double step_ms = ms_between(last_end_ns_, now);
  last_end_ns_ = now;
  if (step == first_step_) status().first_step_ns.store(now);
  if (!outlets_) return;
  const StepRecord record{.step = step,
                          .total_steps = parts_.config.train.steps,
                          .loss = m.loss(),
                          .lr = double(m.lr),
                          .grad_norm = m.grad_norm,
                          .applied_steps = m.next.applied_steps,
                          .loss_scale = double(m.loss_scale),
                          .skipped = skipped,
                          .nothing_counted = m.update == kNothingCounted,
                          .work = double(parts_.config.train.global_batch * parts_.model.unit().per_sample),
                          .unit = parts_.model.unit(),
                          .step_ms = step_ms,
                          .data_wait_ms = data_wait_ms_[size_t(step) % data_wait_ms_.size()],
                          .exposed_comm_ms = entry.exposed_comm_ms(),
                          .samples_seen = state_.samples_seen,
                          .memory_bytes = status().memory_bytes.load(),
                          .time_ms = time_of_day_ms()};
  outlets_->jsonl().write(record);
  if (step == first_step_) report_start_up();
  outlets_->console().write(record);
}

std::optional<SkippedUpdate> Trainer::skipped_update(const StepMetrics& m) const {
  if (m.update != kNotFinite) return std::nullopt;
  const int only_rank = parts_.env.world_size == 1 ? 0 : -1;  // which looks at the sum alone
  const auto tensor = [&]() -> std::string {
    if (m.bad_chunk >= 0) return step_.layout().owner_of_chunk(m.bad_chunk).name;
    if (m.bad_statistic >= 0) return parts_.model.state_layout().owner_of_element(m.bad_statistic).name;
    return "loss";
  };
  return SkippedUpdate{.tensor = tensor(),
                       .rank = m.bad_rank >= 0 ? int(m.bad_rank) : only_rank,
                       .next_loss_scale = double(m.next.loss_scale)};
}

// Only fp16 has overflows that a lower loss scale mends.
void Trainer::stop_at_collapse(const StepMetrics& m, const SkippedUpdate& skipped) const {
  const bool is_scaled = parts_.config.train.precision == PrecisionName::fp16;
  const int64_t most = is_scaled ? parts_.config.train.max_floor_skips : 1;
  if (m.next.floor_skips < most) return;
  const std::string why = is_scaled ? fmt::format("skipped in a row: {}; the loss scale, {}, goes no lower",
                                                  m.next.floor_skips, m.loss_scale)
                                    : fmt::format("loss {}", m.loss());
  throw Error(ExitCode::non_finite,
              fmt::format("step {}: the {}{} ({})", m.step(), m.bad_chunk >= 0 ? "gradient of " : "",
                          non_finite_text(skipped.tensor, skipped.rank), why),
              "lower optimizer.lr or lengthen schedule.warmup_steps");
}

void Trainer::report_start_up() {
  const BoardLayout& board = *parts_.board;
  const RankStatus& s = status();
  outlets_->console().start_up({.total_ms = ms_between(board.launched_ns, s.first_step_ns),
                                .launch_ms = ms_between(board.launched_ns, s.entered_ns),
                                .rendezvous_ms = ms_between(s.entered_ns, s.met_ns),
                                .data_ms = ms_between(s.met_ns, s.loaded_ns),
                                .first_step_ms = ms_between(s.loaded_ns, s.first_step_ns)});
}

// The steps so far were skipped, each with its line; together they are a run that learnt nothing.
void Trainer::check_progress() const {
  if (state_.next.applied_steps > 0) return;
  throw Error(ExitCode::non_finite,
              fmt::format("none of the {} steps applied an update: each was skipped", state_.step()),
              "see non_finite in metrics.jsonl; lower optimizer.lr or train.loss_scale_init, or train longer");
}

void Trainer::make_up_evaluation() {
  const auto is_owed = [this] {
    return is_evaluation_due(parts_.config, state_.step()) &&
           lacks_evaluation(run_folder() / kMetricsFile, state_.step());
  };
  const int32_t owed = first_rank_value<int32_t>(parts_.device, parts_.comm, step_.reducer().comm_stream(), parts_.wait,
                                                 is_first_rank() && is_owed());
  if (owed != 0) evaluate(state_.step());
}

void Trainer::evaluate(int64_t step) {
  set_phase(Phase::evaluate);
  const auto goes_on = [this, step] {
    if (is_checkpoint_requested()) commit(step, false);  // as well now as after minutes: nothing changes the weights
    set_phase(Phase::evaluate);
    return parts_.board->stop_requested.load(std::memory_order_relaxed) == 0;
  };
  const std::optional<std::vector<double>> sums = stop_ ? std::nullopt : evaluator_->run(parts_.wait, goes_on);
  stop_ = owes_evaluation_ = !sums;
  if (!sums && evaluator_->failure()) data_error_ = evaluator_->failure();
  if (!sums && outlets_)
    outlets_->console().line(fmt::format("no evaluation at step {}: the resume makes it up", step));
  if (!sums) return;
  EvalRecord record = eval_record(step, eval_batches_->num_samples(), *sums, valid_source_->bytes_per_target());
  record.is_best = best_ && best_->take(record);
  record.time_ms = time_of_day_ms();
  if (outlets_) outlets_->write(record);
  if (record.is_best) commit(step, false);
  if (best_) keep_best();
  last_end_ns_ = monotonic_ns();
}

void Trainer::keep_best() {
  if (!is_first_rank()) return;
  try {
    best_->link_in(checkpoints());
  } catch (const Error& e) {
    if (e.code() != ExitCode::io) throw;
    outlets_->console().warning(
        fmt::format("checkpoints/best is not that of step {}: {}; it is tried again after each "
                    "evaluation",
                    best_->step(), e.what()));
  }
}

void Trainer::commit(int64_t step, bool must_succeed) {
  set_phase(Phase::checkpoint);
  checkpoints_served_ = parts_.board->checkpoint_requests.load(std::memory_order_relaxed);
  checkpoint_asked_ = false;
  step_.drain();
  if (outlets_) outlets_->write_waiting();
  if (is_first_rank() && committed_step_ != step) {
    try {
      write_checkpoint_of(step);
      num_missed_commits_ = 0;
      committed_step_ = step;
    } catch (const Error& e) {
      if (must_succeed || e.code() != ExitCode::io || ++num_missed_commits_ == kMaxMissedCommits) throw;
      outlets_->console().warning(fmt::format("no checkpoint at step {}: {}; training goes on", step, e.what()));
    }
  }
  last_end_ns_ = monotonic_ns();
}

// What is not a number has no place in a checkpoint, which is the way back to numbers.
void Trainer::check_can_commit(int64_t step, HostState& host) const {
  const auto check = [step](const std::string& what, bool is_finite, const char* where) {
    if (is_finite) return;
    throw Error(ExitCode::non_finite,
                fmt::format("step {}: {} is not finite{}, and is not committed", step, what, where),
                "older checkpoints stay; lower optimizer.lr or lengthen schedule.warmup_steps");
  };
  const auto check_flat = [&](const ParamLayout& layout, const float* flat, const char* where) {
    const std::string tensor = first_non_finite(layout, flat);
    check(tensor, tensor.empty(), where);
  };
  constexpr const char* kInOptimizer = " in the optimizer's state";
  const ModelFlats model = host.model_flats();
  check_flat(model.layout, model.params, "");
  check_flat(model.state_layout, model.state, "");
  for (const NamedFlat& state : host.states()) check_flat(model.layout, state.flat, kInOptimizer);
  for (const auto& [name, value] : state_.optimizer_scalars) check(name, std::isfinite(value), kInOptimizer);
}

void Trainer::write_checkpoint_of(int64_t step) {
  const int64_t begin = monotonic_ns();
  HostState host(parts_.device, parts_.model, step_, step_.compute(), parts_.wait);
  host.download();
  state_.optimizer_scalars = host.download_scalars();
  check_can_commit(step, host);
  const CommittedCheckpoint done = write_checkpoint(checkpoints(),
                                                    {.model = host.model_flats(),
                                                     .optimizer = host.states(),
                                                     .state = state_,
                                                     .texts = exported_files(parts_.config)},
                                                    parts_.config.checkpoint.keep);
  last_checkpoint_ = done.checkpoint.path;
  outlets_->console().checkpoint(step, done.bytes, ms_between(begin, monotonic_ns()));
}

bool Trainer::is_checkpoint_requested() const {
  return parts_.board->checkpoint_requests.load(std::memory_order_relaxed) != checkpoints_served_;
}

void Trainer::tell_corrupt() const {
  const auto tell = [](const DataSource* source, const std::string& path) {
    const int64_t n = source == nullptr ? 0 : source->num_corrupt();
    if (n > 0) log::warn("{}: {} of the files that this rank read are corrupt, and are named above", path, n);
  };
  tell(train_source_.get(), parts_.config.data.train.text());
  tell(valid_source_.get(), parts_.config.data.valid.text());
}

void Trainer::summarize() {
  outlets_->console().summary(
      {.seconds = ms_between(started_ns_, monotonic_ns()) / 1e3,
       .run_folder = run_folder(),
       .checkpoint = last_checkpoint_,
       .example_prompt = parts_.model.language_model() != nullptr ? train_source_->example_prompt() : "",
       .best = checkpoints() / kBestName,
       .best_step = best_ && best_->is_linked_in(checkpoints()) ? best_->step() : 0});
}

void Trainer::set_phase(Phase phase) {
  status().phase.store(uint32_t(phase), std::memory_order_relaxed);
  status().heartbeat_ns.store(monotonic_ns(), std::memory_order_relaxed);
}

}  // namespace ddp
