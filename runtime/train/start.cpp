#include "runtime/train/start.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>
#include <span>

#include "runtime/base/cores.h"
#include "runtime/base/fs.h"
#include "runtime/base/log.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/checkpoint/tensor_map.h"
#include "runtime/optim/loss_scale.h"
#include "runtime/state/finite.h"
#include "runtime/state/init.h"
#include "runtime/train/first_rank_value.h"
#include "runtime/train/host_state.h"

namespace ddp {
namespace {

constexpr const char* kDataKey = "data.train";  // stands for its content

std::optional<Checkpoint> choose_checkpoint(const StartRequest& request) {
  if (request.resume == "none") return std::nullopt;
  const std::filesystem::path folder = std::filesystem::path(request.config.output_dir) / "checkpoints";
  recover_checkpoints(folder);
  if (request.resume != "auto")
    return Checkpoint{.step = verify_checkpoint(request.resume).state.step(), .path = request.resume};
  return find_newest_verified(folder, [](const std::string& text) { log::warn("{}", text); });
}

// The launcher has compared the configurations too, with those of the checkpoint that it took for the newest good one.
void check_changes(const StartRequest& request, std::span<const KeyChange> changes, const std::string& checkpoint) {
  const auto is_of_data = [](const KeyChange& change) { return change.key == kDataKey; };
  std::vector<KeyChange> conflicts = conflicts_of(changes, request.accepted);
  const auto data = std::ranges::find_if(conflicts, is_of_data);
  if (conflicts.size() == 1 && data != conflicts.end())
    throw OtherData(ExitCode::data,
                    fmt::format("cannot resume {}: {} changed since it was written, or is other data ({} became {})",
                                checkpoint, request.config.data.train.text(), data->before, data->after),
                    "restore the data");
  if (conflicts.empty()) return;
  throw Error(ExitCode::config, "cannot resume " + checkpoint + " with another configuration: " + listed(conflicts),
              "restore these keys, or start afresh in another output_dir");
}

// A loss scale that was found under other rules says nothing under these.
void restart_loss_scale(const TrainConfig& train, std::span<const KeyChange> changes, StepState& next) {
  constexpr std::array kRules = {"train.precision", "train.loss_scale", "train.loss_scale_init"};
  const auto is_rule = [&](const KeyChange& change) { return std::ranges::find(kRules, change.key) != kRules.end(); };
  if (std::ranges::none_of(changes, is_rule)) return;
  next.loss_scale = initial_loss_scale(train);
  next.growth_count = next.floor_skips = 0;
}

// With a value that is no number every loss would be NaN: in fp16 every step would be skipped, otherwise the first step
// would end the run. Better to name the tensor before the first step.
void check_finite(const std::string& source, const std::string& what, const ParamLayout& layout, const float* flat) {
  const std::string tensor = first_non_finite(layout, flat);
  if (!tensor.empty())
    throw Error(ExitCode::non_finite, fmt::format("{}: {}{} is not finite", source, what, tensor),
                "start from an older checkpoint, or from other weights");
}

// On rank 0: fills the host's parameters, and the optimizer's state of a run that goes on.
TrainingState load_or_init(const StartRequest& request, const Model& model, HostState& host) {
  const std::optional<Checkpoint> checkpoint = choose_checkpoint(request);
  if (checkpoint) {
    // It was verified when it was chosen: hashing gigabytes a second time would only delay the start.
    const std::filesystem::path manifest = checkpoint->path / kManifestFile;
    const auto written = parse_manifest(read_text(manifest), manifest.string()).state;
    const std::vector<KeyChange> changes = changes_since(written, request);
    check_changes(request, changes, checkpoint->path);
    TrainingState state = load_checkpoint(checkpoint->path, host.model_flats(), host.states());
    restart_loss_scale(request.config.train, changes, state.next);
    check_loaded_model(checkpoint->path, request.config.train, host.model_flats());
    for (const NamedFlat& optimizer_state : host.states())
      check_finite(checkpoint->path, optimizer_state.name + ".", model.layout(), optimizer_state.flat);
    return state;
  }
  const std::string& source = request.config.model.init_from;
  if (source.empty() || !model.layout().saved_names().may_start_anew.empty()) {
    ThreadPool all_cores({.num_threads = usable_cores()});  // also the other ranks', which only wait for the broadcast
    init_params(model.layout(), host.params(), uint64_t(request.config.train.seed), all_cores);
    init_params(model.state_layout(), host.model_state(), uint64_t(request.config.train.seed), all_cores);
  }
  if (!source.empty()) {
    const std::vector<std::string> anew = load_init_from(source, host.model_flats());
    if (!anew.empty()) log::info("model.init_from: {} fits but for what starts anew: {}", source, shortened(anew));
    check_loaded_model(source, request.config.train, host.model_flats());
  }
  TrainingState fresh;
  fresh.next.loss_scale = initial_loss_scale(request.config.train);
  return fresh;
}

}  // namespace

std::vector<std::string> load_init_from(const std::string& source, const ModelFlats& model) {
  const LoadReport report = load_model(source, model);
  for (const std::string& note : report.notes) log::info("model.init_from: {}", note);
  return report.anew;
}

std::vector<KeyChange> changes_since(const TrainingState& written, const StartRequest& now) {
  const Config before =
      parse_stored_config(written.config_yaml, "the checkpoint's configuration", *now.config.registry);
  std::vector<KeyChange> changes = resume_changes(before, now.config);
  if (written.data_fingerprint != now.data_fingerprint)
    changes.push_back({.key = kDataKey,
                       .before = written.data_fingerprint,
                       .after = now.data_fingerprint,
                       .needs = KeyChange::Needs::consent});
  return changes;
}

// Parameters are rounded to the storage type, to infinity where it ends; the model's state is f32.
void check_loaded_model(const std::string& source, const TrainConfig& train, const ModelFlats& model) {
  check_finite(source, "", model.layout, model.params);
  check_finite(source, "", model.state_layout, model.state);
  if (train.precision != PrecisionName::fp16) return;  // bf16 ends where f32 does
  constexpr float kLargestHalf = 65519.996f;           // the next float, 65520, rounds to infinity
  const std::string tensor = first_non_finite(model.layout, model.params, kLargestHalf);
  if (!tensor.empty())
    throw Error(ExitCode::non_finite, fmt::format("{}: {} holds values beyond the range of fp16", source, tensor),
                "train it with train.precision bf16 or fp32");
}

TrainingState start_run(const StartRequest& request, const Model& model, Device& device, Communicator& comm,
                        TrainStep& step, const WaitPolicy& wait) {
  Stream& stream = step.reducer().comm_stream();
  const Optimizer& optimizer = step.optimizer();
  step.drain();  // the optimizer's initial state is set
  TrainingState state;
  if (comm.rank() == 0) {
    HostState host(device, model, step, stream, wait);
    state = load_or_init(request, model, host);
    host.upload_model();
    if (state.step() > 0) {
      host.upload_optimizer();
      host.upload_scalars(state.optimizer_scalars, "the checkpoint of step " + std::to_string(state.step()));
    }
  }
  const auto progress = first_rank_value<Progress>(device, comm, stream, wait, state);
  comm.broadcast(step.params(), 0, stream);
  if (step.model_state()) comm.broadcast(step.model_state(), 0, stream);
  if (progress.step() > 0) {
    for (const OptimizerState& flat : optimizer.states()) comm.broadcast(flat.flat, 0, stream);
    if (!optimizer.scalars().empty()) comm.broadcast(optimizer.scalar_values(), 0, stream);
  }
  step.set_state(progress.next, stream);
  stream.synchronize(wait);
  step.round_params();
  static_cast<Progress&>(state) = progress;
  return state;
}

}  // namespace ddp
