#include "launcher/run.h"

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <utility>

#include "launcher/console.h"
#include "launcher/cuda_search.h"
#include "launcher/data_paths.h"
#include "launcher/defaults.h"
#include "launcher/devices.h"
#include "launcher/log_mux.h"
#include "launcher/past.h"
#include "launcher/rank_program.h"
#include "launcher/report.h"
#include "launcher/resume.h"
#include "launcher/run_folder.h"
#include "launcher/spawn.h"
#include "launcher/starter.h"
#include "launcher/supervise.h"
#include "runtime/base/cores.h"
#include "runtime/base/error.h"
#include "runtime/base/weights_file.h"
#include "runtime/config/resume_changes.h"

namespace ddp {
namespace {

// A typing error is worth a line also where the file is not read yet; a run that goes on has had its chance.
void check_inputs(const Config& config, bool goes_on) {
  const DataPath kind = data_format(config).path;
  check_paths("data.train", config.data.train, kind);
  if (!goes_on || config.eval.every > 0) check_paths("data.valid", config.data.valid, kind);
  if (!goes_on) check_init_from(config);
}

// What a run goes on from, and the configuration that it goes on with.
struct Beginning {
  std::string resume;  // auto, none, or the path of a checkpoint
  std::optional<Past> past;
  Config config;
};

// Looks and starts nothing.
Beginning find_beginning(const TrainOptions& train, const Placement& placement, const ConfigRegistry& registry,
                         const CommandAgain& again) {
  Beginning begin{.resume = resume_source(train.resume), .past = {}, .config = {}};
  if (begin.resume != "none") {
    const std::string folder = load_output_dir(train.config_file, registry, train.overrides, train.output_dir);
    refuse_links_in(folder);  // before a link is followed to another run's past
    begin.past = find_past(folder, begin.resume, registry);
  }
  const Defaults defaults = begin.past ? defaults_of(begin.past->config, begin.past->checkpoint.string())
                                       : defaults_beside_weights(train, registry);
  begin.config = resolve_config(train, placement, registry, defaults);
  expand_patterns("data.train", begin.config.data.train);
  expand_patterns("data.valid", begin.config.data.valid);
  check_config(begin.config, placement.ranks());  // again: a pattern may stand for several files
  check_accepted(train.accepted, begin.config);
  if (begin.past) check_changes(*begin.past, begin.config, train.accepted, again.with_accepted);
  return begin;
}

// Whether a rank found all that it begins with; nothing of the run's past was touched before.
bool has_begun(const Board& board) { return board->ranks.front().loaded_ns.load() != 0; }

void record_origin(const Resume& resume, Console& console) {
  try {
    resume.record_origin();
  } catch (const Error& e) {  // a full disk: the run itself may not need it
    console.message(
        fmt::format("ddp-launch: warning: {}; until the first checkpoint --resume auto does not know "
                    "where this run comes from",
                    e.what()));
  }
}

// Where the same command would fail again: the one that consents, if that is all it takes.
std::string consent(const Board& board, const TrainOptions& train, const CommandAgain& again) {
  if (board->refuses_data.load() == 0) return {};
  std::vector<std::string> keys = train.accepted;
  keys.emplace_back("data.train");
  return "or change it from here on: " + again.with_accepted(fmt::format("{}", fmt::join(keys, ",")));
}

std::string advice(const Resume& resume, const CommandAgain& again) {
  const std::optional<Continuation> next = resume.continuation();
  if (!next) return {};
  return (next->has_checkpoint ? "resume: " : "no checkpoint yet, start again: ") + again.with_resume(next->resume);
}

}  // namespace

void print_notes(const Config& config) {
  for (const std::string& note : config.notes) fmt::print(stderr, "ddp-launch: {}\n", note);
}

Config resolve_config(const TrainOptions& train, const Placement& placement, const ConfigRegistry& registry,
                      const Defaults& defaults) {
  const Config config = load_config(train.config_file, registry, train.overrides, train.output_dir, defaults);
  print_notes(config);
  check_config(config, placement.ranks());
  return config;
}

void check_input(const char* key, const std::string& path, DataPath kind) {
  if (path.empty() || kind == DataPath::none) return;
  try {
    const Fd input = open_input(path);
    const bool is_folder = std::filesystem::is_directory(path);
    if (kind == DataPath::folder && !is_folder) throw Error(ExitCode::no_input, path + " is no folder");
    if (kind == DataPath::file || !is_folder) file_size(input, path);
  } catch (const Error& e) {
    throw Error(e.code(), fmt::format("{}: {}", key, e.what()));
  }
}

void check_init_from(const Config& config) {
  if (config.model.init_from.empty()) return;
  try {
    find_weights(config.model.init_from);
  } catch (const Error& e) {
    throw Error(e.code(), fmt::format("model.init_from: {}", e.what()));
  }
}

std::vector<RankEnv> rank_environments(const Placement& placement, const Board& board, const Fd& segment,
                                       const CudaChoice& cuda) {
  std::vector<RankEnv> envs;
  for (int rank = 0; rank < placement.ranks(); ++rank) {
    RankEnv& env = envs.emplace_back();
    env.rank = env.local_rank = rank;
    env.world_size = env.local_world_size = placement.ranks();
    env.board_fd = board.fd().get();
    env.segment_fd = segment.get();
    env.device = placement.device;
    env.device_index = placement.indices[size_t(rank)];
    if (!placement.uuids.empty()) env.visible_gpu = placement.uuids[size_t(rank)];
    env.cuda_module = cuda.module;
    env.site_packages = cuda.site_packages;
    env.shares_gpu = placement.shares_gpu();
  }
  return envs;
}

uint32_t is_oversubscribed(const Config& config, const Placement& placement) {
  const int cores = usable_cores(), ranks = placement.ranks();
  return ranks * threads_per_rank(config.train.threads_per_rank, ranks, cores) > cores;
}

Outcome run_training(const TrainOptions& train, const ConfigRegistry& registry, const CommandAgain& again,
                     int64_t launched_ns, const Signals& signals) {
  const Fd holder = take_watched_descriptor(train.stop_when_closed);
  Announcement announcement(train.announce);
  const HostDevices host = probe_host(train);
  const Placement placement = place_ranks(train, host);
  Beginning begin = find_beginning(train, placement, registry, again);
  Config& config = begin.config;
  check_precision(config.train.precision, placement, host);
  check_inputs(config, begin.past.has_value());
  const std::filesystem::path program = find_rank_program();
  CudaChoice cuda;
  if (placement.device == "cuda")
    cuda = choose_cuda(program, {.nccl = placement.ranks() > 1, .cudnn = model_kind(config).convolves});
  const RunFolder folder(config.output_dir);
  const std::string given_dir = std::exchange(config.output_dir, folder.path().string());
  const Resume resume(folder.path(), begin.resume, again.with_resume("auto"));

  Board board = Board::create(placement.ranks());
  board->job = uint32_t(Job::train);
  board->launched_ns = launched_ns;
  board->oversubscribed = is_oversubscribed(config, placement);
  board.set_config(to_yaml(config));
  const Fd segment = create_segment();

  Console console(STDOUT_FILENO, STDERR_FILENO, train.plain);
  if (!placement.note.empty()) console.message("ddp-launch: " + placement.note);
  if (!folder.is_as_given()) console.message(fmt::format("ddp-launch: {} is {}", given_dir, config.output_dir));
  LogMux logs(placement.ranks(), folder.open_logs(), console);
  StatusFile status(folder.path(), placement, console);
  record_origin(resume, console);
  std::vector<RankEnv> envs = rank_environments(placement, board, segment, cuda);
  for (RankEnv& env : envs) {
    env.tty = console.is_terminal();
    env.stop_after = train.stop_after;
    env.resume = resume.for_ranks();
    env.accepted = train.accepted;
  }
  RankGroup ranks(program, envs, board);
  Supervision job{board, ranks, logs, console, signals, {}, {}, holder.get()};
  job.limits.hang_ns = int64_t(config.train.hang_timeout_s * 1e9);
  const auto announce = [&] {
    if (has_begun(board)) announcement.make(config.output_dir, board->metrics_from.load());
  };
  job.on_tick = [&](int64_t now_ns) {
    status.update(newest_step(board), now_ns);
    announce();
  };
  const Outcome outcome = supervise(job);
  announce();  // of a run that was over before it was looked at
  const bool is_final = outcome.state == RunState::failed && !is_worth_repeating(outcome.exit_code);
  const bool is_refused = is_final && !has_begun(board);
  if (is_refused) resume.forget_origin();
  const int64_t step = newest_step(board);
  const std::string next = is_final ? consent(board, train, again) : advice(resume, again);
  const std::string sentence = final_sentence(outcome, step, placement, next);
  logs.conclude();
  if (is_refused && resume.enters_run()) {  // what it says of itself stays what it was
    logs.undo();
    status.undo();
  } else {
    status.conclude(outcome, step, sentence);
  }
  console.status({});
  if (!sentence.empty()) console.message(sentence);
  return outcome;
}

}  // namespace ddp
