// ddp-rank: what each forked child executes, one rank of a run; and what `ddp-launch plan` and `ddp-launch sample`
// execute, since they need models. The composition root: this folder may include everything. What it receives:
// launcher/README.md.
#include "runtime/rank/rank_main.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <span>
#include <string_view>

#include "kernels/cpu/arch.h"
#include "runtime/base/caught.h"
#include "runtime/base/clock.h"
#include "runtime/base/cores.h"
#include "runtime/base/crash.h"
#include "runtime/base/log.h"
#include "runtime/base/rank_env.h"
#include "runtime/board/board.h"
#include "runtime/device/out_of_memory.h"
#include "runtime/rank/cuda_backend.h"
#include "runtime/rank/eval_result.h"
#include "runtime/rank/plan_command.h"
#include "runtime/rank/sample_command.h"
#include "runtime/train/eval_run.h"
#include "runtime/train/trainer.h"

namespace ddp {
namespace {

void check_machine() {
  if (const char* feature = missing_cpu_feature())
    throw Error(ExitCode::os_resource, std::string("ddp-rank was built for a processor with ") + feature,
                "build it on this machine, or with -Dcpu_archs=x86-64-v3");
}

WaitPolicy wait_policy(const Board& board, double hang_timeout_s) {
  // The launcher's own watch comes first: it can say who is to blame.
  return {.abort_word = &board->abort_word,
          .timeout_ms = int64_t((hang_timeout_s * 1.1 + 5) * 1000),
          .spin_pauses = board->oversubscribed != 0 ? 0 : WaitPolicy{}.spin_pauses,
          .progress = &board->progress};
}

std::unique_ptr<Device> make_cpu(const Config& config, const RankEnv& env, const Board& board) {
  const bool oversubscribed = board->oversubscribed != 0;
  const int cores = usable_cores();
  const int threads = threads_per_rank(config.train.threads_per_rank, env.local_world_size, cores);
  return make_cpu_device({.num_threads = threads,
                          .pin_threads = should_pin(threads * env.local_world_size, allowed_cores(), cores),
                          .first_core = threads * env.local_rank,
                          .spin_pauses = oversubscribed ? 0 : CpuOptions{}.spin_pauses});
}

// What a run computes with and communicates through.
struct Backend {
  std::unique_ptr<Device> device;
  const OpTable& table;
  std::unique_ptr<Communicator> comm;
};

Backend make_backend(const Config& config, const RankEnv& env, Board& board, const DryRun& plan,
                     const WaitPolicy& wait) {
  const bool solo = env.world_size == 1;
  if (env.device == "cpu") {
    std::unique_ptr<Device> device = make_cpu(config, env, board);
    auto comm = solo ? make_solo_comm(*device)
                     : make_shm_comm(*device, board, Fd(env.segment_fd),
                                     {.rank = env.rank, .symmetric_bytes = plan.symmetric_bytes, .wait = wait});
    return {std::move(device), cpu_op_table(), std::move(comm)};
  }
  const CudaBackend& cuda = open_cuda_backend();
  std::unique_ptr<Device> device = cuda.make_device({
      .workspace_bytes = plan.workspace_bytes,
      .cudnn = model_kind(config).convolves ? open_cudnn() : nullptr,
  });
  auto comm = solo ? make_solo_comm(*device)
                   : cuda.make_nccl_comm(*device, board,
                                         {.rank = env.rank,
                                          .library = open_nccl(),
                                          .blocking = config.train.nccl_blocking,
                                          .is_captured = config.train.cuda_graph,
                                          .shares_gpu = env.shares_gpu,
                                          .deterministic = config.train.deterministic,
                                          .symmetric_bytes = plan.symmetric_bytes,
                                          .own_bytes = plan.nccl_bytes,
                                          .wait = wait});
  return {std::move(device), cuda.op_table(precision_of(config.train).tf32), std::move(comm)};
}

// Records the exception being handled as this rank's error, unless the rank is a victim, and returns the exit code.
ExitCode report_failure(const RankEnv& env, Board& board) {
  try {
    throw;
  } catch (const Aborted& e) {
    log::note(fmt::format("{}: another rank failed first", e.what()));
    return ExitCode::rendezvous;
  } catch (...) {
    const Caught what = caught();
    board.report_error(env.rank, int(what.code), what.text);
    log::note(fmt::format("failed: {}", what.text));
    return what.code;
  }
}

// What a rank has before it plans its memory, once all ranks have met.
struct Start {
  Config config;
  WaitPolicy wait;
  DeviceKind device;
  std::unique_ptr<Model> model;
};

Start meet_others(const RankEnv& env, Board& board, const Known& known) {
  RankStatus& status = board->ranks[size_t(env.rank)];
  Start start{.config = parse_config(board.config(), "the board's configuration", known.config),
              .wait = {},
              .device = env.device == "cpu" ? DeviceKind::cpu : DeviceKind::cuda,
              .model = {}};
  start.wait = wait_policy(board, start.config.train.hang_timeout_s);
  status.phase.store(uint32_t(Phase::rendezvous));
  board->barrier.arrive_and_wait(uint32_t(env.world_size), start.wait, "the rendezvous");
  status.met_ns.store(monotonic_ns());

  check_machine();
  status.phase.store(uint32_t(Phase::plan));
  start.model = make_model(start.config, start.device, known.models);
  return start;
}

// What to do where the device has no room for the run.
std::string advice(const OutOfMemory& failure, const RankEnv& env, const Board& board, const Start& start) {
  constexpr const char* kSeePlan = "lower train.micro_batch: ddp-launch plan --memory says what fits";
  if (board->job != uint32_t(Job::train)) return kSeePlan;
  // Ranks on the CPU share the host's memory; libraries need some of their own.
  const int64_t mine = failure.run_bytes() / (env.device == "cpu" ? env.local_world_size : 1) / 10 * 9;
  try {
    const int64_t fits = largest_dividing_micro_batch(start.config, env.world_size, mine, *start.model, start.device);
    if (fits == 0 || fits >= start.config.train.micro_batch) return kSeePlan;
    return fmt::format("train.micro_batch {} would fit, with the same train.global_batch", fits);
  } catch (const std::bad_alloc&) {
    return kSeePlan;
  }
}

// Makes a backend for this plan, a Work (Trainer, EvalRun) on it, and runs that.
//
// Where that fails, the backend is still there, and the work once it was made: what frees them waits for collectives
// that the peers will never join, until the launcher, which learns of the error here, ends the run. A GPU's driver
// cleans up itself.
template <class Work, class Run, class Fail>
ExitCode run_work(const RankEnv& env, Board& board, const Known& known, const Start& start, const DryRun& plan,
                  const Run& run, const Fail& fail) {
  const Backend backend = make_backend(start.config, env, board, plan, start.wait);
  board->ranks[size_t(env.rank)].phase.store(uint32_t(Phase::load));
  std::optional<Work> work;
  try {
    try {
      work.emplace(typename Work::Parts{.config = start.config,
                                        .env = env,
                                        .board = board,
                                        .device = *backend.device,
                                        .table = backend.table,
                                        .comm = *backend.comm,
                                        .model = *start.model,
                                        .sources = known.sources,
                                        .plan = plan,
                                        .wait = start.wait});
    } catch (const OutOfMemory& e) {
      throw Error(e.code(), e.what(), advice(e, env, board, start));
    }
    return run(*work);
  } catch (...) {
    const ExitCode code = report_failure(env, board);
    if (work) fail(*work);
    if (env.device == "cuda") ::_exit(int(code));
    return code;
  }
}

ExitCode train(const RankEnv& env, Board& board, const Known& known) {
  const Start start = meet_others(env, board, known);
  const DryRun plan = dry_run(start.config, env.world_size, *start.model, start.device);
  return run_work<Trainer>(
      env, board, known, start, plan, [](Trainer& trainer) { return trainer.run(); },
      [](Trainer& trainer) { trainer.conclude(); });
}

ExitCode evaluate(const RankEnv& env, Board& board, const Known& known) {
  const Start start = meet_others(env, board, known);
  const DryRun plan = dry_run_evaluation(start.config, env.world_size, *start.model, start.device);
  return run_work<EvalRun>(
      env, board, known, start, plan,
      [&](EvalRun& evaluation) {
        const Evaluation done = evaluation.run();
        if (env.rank == 0) board.set_result(board->wants_json != 0 ? eval_json(done) : eval_line(done));
        board->ranks[size_t(env.rank)].phase.store(uint32_t(Phase::finished));
        return ExitCode::complete;
      },
      [](EvalRun&) {});
}

// The launch benchmark: meet and leave.
ExitCode meet(const RankEnv& env, Board& board) {
  RankStatus& status = board->ranks[size_t(env.rank)];
  board->barrier.arrive_and_wait(uint32_t(env.world_size), wait_policy(board, 60), "the rendezvous");
  status.met_ns.store(monotonic_ns());
  status.phase.store(uint32_t(Phase::finished));
  return ExitCode::complete;
}

int run_rank(const Known& known) {
  const int64_t entered_ns = monotonic_ns();
  const RankEnv env = read_rank_env();
  Board board = Board::attach(Fd(env.board_fd));
  RankStatus& status = board->ranks[size_t(env.rank)];
  status.entered_ns.store(entered_ns);
  status.pid.store(uint32_t(::getpid()));
  status.heartbeat_ns.store(entered_ns);
  try {
    if (board->job == uint32_t(Job::barrier)) return int(meet(env, board));
    print_backtrace_on_crash();
    log::init();
    return int(board->job == uint32_t(Job::evaluate) ? evaluate(env, board, known) : train(env, board, known));
  } catch (...) {
    const int code = int(report_failure(env, board));
    // CUDA and NCCL may have threads in the middle of something, of which a normal exit would take away the globals.
    if (env.device != "cpu") ::_exit(code);
    return code;
  }
}

int run(std::span<char*> args, const Known& known) {
  const std::string_view verb = args.size() > 1 ? args[1] : "";
  if (verb == "plan" || verb == "sample") {
    check_machine();
    return int(verb == "plan" ? plan_command(args.subspan(2), known) : sample_command(args.subspan(2), known));
  }
  if (!verb.empty()) throw Error(ExitCode::usage, "ddp-rank is started by ddp-launch", "see ddp-launch --help");
  return run_rank(known);
}

}  // namespace

int rank_main(std::span<char*> args, const Known& known) {
  try {
    return run(args, known);
  } catch (...) {
    return tell_caught();
  }
}

}  // namespace ddp
