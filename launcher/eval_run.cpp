#include "launcher/eval_run.h"

#include <fmt/format.h>
#include <string.h>
#include <unistd.h>

#include <filesystem>

#include "launcher/console.h"
#include "launcher/cuda_search.h"
#include "launcher/data_paths.h"
#include "launcher/defaults.h"
#include "launcher/devices.h"
#include "launcher/log_mux.h"
#include "launcher/past.h"
#include "launcher/rank_program.h"
#include "launcher/report.h"
#include "launcher/run.h"
#include "launcher/spawn.h"
#include "launcher/starter.h"
#include "launcher/supervise.h"
#include "runtime/base/error.h"
#include "runtime/base/fs.h"
#include "runtime/base/output.h"
#include "runtime/base/run_files.h"
#include "runtime/config/config.h"

namespace ddp {
namespace {

namespace fs = std::filesystem;

// What is evaluated.
struct Subject {
  Config config;
  std::string resume = "none";  // for the ranks: none (model.init_from), a checkpoint, or a folder of them
};

Subject read_subject(const TrainOptions& options, const ConfigRegistry& registry) {
  const fs::path path = options.config_file;
  if (!fs::is_directory(path)) {
    Subject subject{.config =
                        load_config(path, registry, options.overrides, {}, defaults_beside_weights(options, registry))};
    if (subject.config.model.init_from.empty())
      throw Error(ExitCode::config,
                  fmt::format("{}: model.init_from is not set: there are no weights to evaluate", path.string()),
                  "set it, or name a run's folder");
    check_init_from(subject.config);
    return subject;
  }
  if (const fs::path manifest = path / kManifestFile; fs::exists(manifest))
    return {parse_stored_config(config_in(manifest), manifest.string(), registry, options.overrides), path.string()};
  const fs::path config = path / "config.yaml";
  if (!fs::exists(config))
    throw Error(ExitCode::no_input,
                path.string() + " holds neither a run (config.yaml) nor a checkpoint (manifest.json)",
                "name a run's output_dir, or a folder like runs/x/checkpoints/best");
  return {parse_stored_config(read_text(config), config.string(), registry, options.overrides),
          (path / "checkpoints").string()};
}

// As far as an evaluation goes: it has no steps, so that any number of ranks will do.
void check_subject(Config& config, int ranks) {
  if (config.data.valid.empty())
    throw Error(ExitCode::config, "data.valid is not set: there is nothing to evaluate on", "add --set data.valid=...");
  expand_patterns("data.valid", config.data.valid);
  config.train.global_batch = config.train.micro_batch * ranks;
  config.train.deterministic = config.train.cuda_graph = false;
  config.checkpoint.best = BestBy::none;
  check_config(config, ranks);
  check_paths("data.valid", config.data.valid, data_format(config).path);
}

std::string sentence_of(const Outcome& outcome, const Placement& placement) {
  if (outcome.state == RunState::failed) return failure_sentence(outcome.failure, placement, "");
  if (outcome.signal != 0) return fmt::format("STOPPED by SIG{}", ::sigabbrev_np(outcome.signal));
  return {};
}

}  // namespace

Outcome run_evaluation(const Command& command, const ConfigRegistry& registry, int64_t launched_ns,
                       const Signals& signals) {
  const Fd holder = take_watched_descriptor(command.train.stop_when_closed);
  const HostDevices host = probe_host(command.train);
  const Placement placement = place_ranks(command.train, host);
  Subject subject = read_subject(command.train, registry);
  print_notes(subject.config);
  check_subject(subject.config, placement.ranks());
  check_precision(subject.config.train.precision, placement, host);
  const fs::path program = find_rank_program();
  CudaChoice cuda;
  if (placement.device == "cuda")
    cuda = choose_cuda(program, {.nccl = placement.ranks() > 1, .cudnn = model_kind(subject.config).convolves});

  Board board = Board::create(placement.ranks());
  board->job = uint32_t(Job::evaluate);
  board->wants_json = command.eval.json;
  board->launched_ns = launched_ns;
  board->oversubscribed = is_oversubscribed(subject.config, placement);
  board.set_config(to_yaml(subject.config));
  const Fd segment = create_segment();
  Console console(STDERR_FILENO, STDERR_FILENO);
  if (!placement.note.empty()) console.message("ddp-launch: " + placement.note);
  LogMux logs(placement.ranks(), Fd(), console);
  std::vector<RankEnv> envs = rank_environments(placement, board, segment, cuda);
  for (RankEnv& env : envs) env.resume = subject.resume;
  RankGroup ranks(program, envs, board);
  Supervision job{board, ranks, logs, console, signals, {.has_commits = false}, {}, holder.get()};
  job.limits.hang_ns = int64_t(subject.config.train.hang_timeout_s * 1e9);
  const Outcome outcome = supervise(job);
  if (outcome.state == RunState::finished) write_output([&] { fmt::print("{}\n", board.result()); });
  if (const std::string sentence = sentence_of(outcome, placement); !sentence.empty()) console.message(sentence);
  return outcome;
}

}  // namespace ddp
