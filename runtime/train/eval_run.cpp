#include "runtime/train/eval_run.h"

#include <cmath>
#include <filesystem>
#include <vector>

#include "runtime/base/clock.h"
#include "runtime/base/log.h"
#include "runtime/base/run_files.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/checkpoint/tensor_map.h"
#include "runtime/train/eval_record.h"
#include "runtime/train/evaluator.h"
#include "runtime/train/first_rank_value.h"
#include "runtime/train/host_flat.h"
#include "runtime/train/source_request.h"
#include "runtime/train/start.h"

namespace ddp {
namespace {

namespace fs = std::filesystem;

// The file of each checkpoint that is to be read: others by the same names are other files.
using Seen = std::vector<fs::file_time_type>;

Seen look_at(const fs::path& place) {
  std::vector<fs::path> manifests = {place / kManifestFile};
  for (const Checkpoint& c : list_checkpoints(place)) manifests.push_back(c.path / kManifestFile);
  Seen seen;
  for (const fs::path& manifest : manifests) {
    std::error_code not_there;
    seen.push_back(fs::last_write_time(manifest, not_there));
  }
  return seen;
}

Checkpoint choose(const fs::path& place, std::vector<std::string>& passed_over) {
  if (fs::exists(place / kManifestFile)) return {verify_checkpoint(place).state.step(), place};
  const auto newest = find_newest_verified(place, [&](const std::string& text) { passed_over.push_back(text); });
  if (newest) return *newest;
  throw Error(ExitCode::no_input, place.string() + " holds no checkpoint yet", "wait for one, or send the run SIGUSR1");
}

// A run that is training may remove or replace what is being read here: then there is a newer one.
Checkpoint load_from(const fs::path& place, const ModelFlats& model) {
  constexpr int kMostTries = 5;
  for (int tries = 1;; ++tries) {
    const Seen before = look_at(place);
    std::vector<std::string> passed_over;
    const auto tell = [&] {
      for (const std::string& text : passed_over) log::warn("{}", text);
    };
    try {
      const Checkpoint chosen = choose(place, passed_over);
      load_checkpoint_model(chosen.path, model);
      const bool stays = chosen.path != place && passed_over.empty();  // whatever else came or went
      if (!stays && look_at(place) != before)
        throw Error(ExitCode::no_input, place.string() + " was replaced while it was read", "try again");
      tell();
      return chosen;
    } catch (const Error&) {
      if (tries < kMostTries && look_at(place) != before) continue;
      tell();
      throw;
    }
  }
}

Checkpoint load_given(const std::string& source, const ModelFlats& model) {
  const std::vector<std::string> anew = load_init_from(source, model);
  if (!anew.empty())
    throw Error(ExitCode::config,
                fmt::format("model.init_from: {} is not all of this model, which is {}", source, shortened(anew)),
                "evaluate a run that trained it");
  return {0, source};
}

}  // namespace

EvalRun::EvalRun(const Parts& parts)
    : parts_(parts),
      arena_memory_(parts.device, parts.plan.arena.arena_bytes),
      arena_(parts.plan.arena, arena_memory_.data()),
      step_({.config = parts.config,
             .device = parts.device,
             .table = parts.table,
             .model = parts.model,
             .wait = parts.wait},
            arena_),
      communication_(parts.device, StreamRole::communication) {}

Evaluation EvalRun::run() {
  const Config& config = parts_.config;
  SourceRequest request = source_request(config, Split::valid, step_.batch_layout());
  request.still_alive = [this] { set_phase(Phase::load); };
  data_ = find_maker(parts_.sources, config.data.format, request.batch).open(request);
  batches_.emplace(*data_, step_.batch_layout(),
                   EvalOptions{.samples = config.eval.samples,
                               .rank = parts_.env.rank,
                               .num_ranks = parts_.env.world_size,
                               .num_workers = config.data.num_workers,
                               .wait = parts_.wait});
  Evaluator evaluator(parts_.device, parts_.comm, step_, communication_, *batches_);
  const int64_t step = load();
  const int64_t begin = monotonic_ns();
  const std::optional<std::vector<double>> sums = evaluator.run(parts_.wait, [this] {
    set_phase(Phase::evaluate);
    return true;
  });
  if (evaluator.failure()) std::rethrow_exception(evaluator.failure());
  if (!sums) meet();  // until the rank whose data failed has said so
  DDP_CHECK(sums.has_value(), "an evaluation that nobody broke off has no sums");
  Evaluation done{.record = eval_record(step, batches_->num_samples(), *sums, data_->bytes_per_target()),
                  .source = source_,
                  .perplexity = NAN,
                  .seconds = ms_between(begin, monotonic_ns()) / 1e3};
  if (parts_.model.language_model() != nullptr) done.perplexity = std::exp(done.record.loss);
  if (const int64_t n = data_->num_corrupt(); n > 0)
    log::warn("{}: {} of the files that this rank read are corrupt, and are named above", config.data.valid.text(), n);
  return done;
}

void EvalRun::meet() {
  parts_.comm.barrier(communication_);
  communication_.synchronize(parts_.wait);
}

int64_t EvalRun::load() {
  set_phase(Phase::load);
  const Config& config = parts_.config;
  Checkpoint loaded;
  if (parts_.env.rank == 0) {
    HostFlat params(parts_.device, step_.params(), communication_, parts_.wait);
    std::optional<HostFlat> state;
    if (step_.model_state()) state.emplace(parts_.device, step_.model_state(), communication_, parts_.wait);
    const ModelFlats model{.layout = parts_.model.layout(),
                           .params = params.data(),
                           .state_layout = parts_.model.state_layout(),
                           .state = state ? state->data() : nullptr};
    loaded =
        parts_.env.resume == "none" ? load_given(config.model.init_from, model) : load_from(parts_.env.resume, model);
    check_loaded_model(loaded.path, config.train, model);
    params.upload();
    if (state) state->upload();
  }
  source_ = loaded.path;
  const int64_t step = first_rank_value(parts_.device, parts_.comm, communication_, parts_.wait, loaded.step);
  parts_.comm.broadcast(step_.params(), 0, communication_);
  if (step_.model_state()) parts_.comm.broadcast(step_.model_state(), 0, communication_);
  communication_.synchronize(parts_.wait);
  step_.round_params();
  return step;
}

void EvalRun::set_phase(Phase phase) {
  RankStatus& status = parts_.board->ranks[size_t(parts_.env.rank)];
  status.phase.store(uint32_t(phase), std::memory_order_relaxed);
  status.heartbeat_ns.store(monotonic_ns(), std::memory_order_relaxed);
}

}  // namespace ddp
