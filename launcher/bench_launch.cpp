#include "launcher/bench_launch.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <vector>

#include "launcher/console.h"
#include "launcher/rank_program.h"
#include "launcher/report.h"
#include "launcher/supervise.h"
#include "runtime/base/clock.h"
#include "runtime/base/cores.h"
#include "runtime/base/error.h"
#include "runtime/base/output.h"

namespace ddp {
namespace {

constexpr int kStages = 4;
constexpr std::array<const char*, kStages> kStageNames = {"all ranks forked", "all ranks in main",
                                                          "all past the barrier", "all ranks gone"};
using Stages = std::array<int64_t, kStages>;  // monotonic ns, the slowest rank's

Stages launch_once(const std::filesystem::path& program, int num_ranks, int64_t launched_ns, const Signals& signals,
                   Console& console) {
  Board board = Board::create(num_ranks);
  board->job = uint32_t(Job::barrier);
  board->launched_ns = launched_ns;
  board->oversubscribed = num_ranks > usable_cores();
  const Fd segment = create_segment();
  Placement placement{"cpu", {}};
  std::vector<RankEnv> envs;
  for (int rank = 0; rank < num_ranks; ++rank) {
    placement.indices.push_back(rank);
    RankEnv& env = envs.emplace_back();
    env.rank = env.local_rank = env.device_index = rank;
    env.world_size = env.local_world_size = num_ranks;
    env.board_fd = board.fd().get();
    env.segment_fd = segment.get();
  }
  LogMux logs(num_ranks, Fd(), console);
  RankGroup ranks(program, envs, board);
  Stages stages = {monotonic_ns(), 0, 0, 0};
  const Outcome outcome = supervise({board, ranks, logs, console, signals, {.has_commits = false}, {}, -1});
  stages[3] = monotonic_ns();
  if (outcome.signal != 0) die_of(outcome.signal);
  if (outcome.state != RunState::finished)
    throw Error(ExitCode::internal, final_sentence(outcome, 0, placement, "the same command"));
  for (int rank = 0; rank < num_ranks; ++rank) {
    stages[1] = std::max(stages[1], board->ranks[size_t(rank)].entered_ns.load());
    stages[2] = std::max(stages[2], board->ranks[size_t(rank)].met_ns.load());
  }
  return stages;
}

void print_table(const BenchOptions& options, std::array<std::vector<double>, kStages>& all_ms) {
  fmt::print("{} ranks, {} launches: ms since the launch began, median (fastest, slowest)\n", options.nproc,
             options.repeat);
  for (int s = 0; s < kStages; ++s) {
    std::vector<double>& ms = all_ms[size_t(s)];
    std::sort(ms.begin(), ms.end());
    fmt::print("  {:<22}{:7.2f}  ({:.2f}, {:.2f})\n", kStageNames[size_t(s)], ms[ms.size() / 2], ms.front(), ms.back());
  }
}

}  // namespace

void bench_launch(const BenchOptions& options, int64_t launched_ns, const Signals& signals) {
  const std::filesystem::path program = find_rank_program();
  Console console(STDOUT_FILENO, STDERR_FILENO);
  std::array<std::vector<double>, kStages> all_ms;
  for (int i = 0; i < options.repeat; ++i) {
    const int64_t began = i == 0 ? launched_ns : monotonic_ns();
    const Stages stages = launch_once(program, options.nproc, began, signals, console);
    for (int s = 0; s < kStages; ++s) all_ms[size_t(s)].push_back(ms_between(began, stages[size_t(s)]));
    if (options.json)
      write_output([&] {
        fmt::print("{{\"launched_ns\":{},\"forked_ns\":{},\"entered_ns\":{},\"met_ns\":{},\"gone_ns\":{}}}\n", began,
                   stages[0], stages[1], stages[2], stages[3]);
      });
  }
  if (!options.json) write_output([&] { print_table(options, all_ms); });
}

}  // namespace ddp
