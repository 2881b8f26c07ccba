#include "tests/comm/rank_harness.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/comm/shm_comm.h"

namespace ddp::test {
namespace {

constexpr int kOtherException = 1;

RankResult result_of_exception() {
  try {
    throw;
  } catch (const Error& error) {
    return {int(error.code()), error.what()};
  } catch (const Aborted& error) {
    return {kVictim, error.what()};
  } catch (const std::exception& error) {
    return {kOtherException, error.what()};
  }
}

RankResult report_failure(int rank, Board& board, const WorldOptions& options) {
  const RankResult result = result_of_exception();
  board.report_error(rank, result.code, result.text);
  if (options.failure_aborts) board->abort_word.store(uint32_t(rank) + 1);
  return result;
}

RankResult run_rank(int rank, Board& board, const WorldOptions& options, const RankParts& parts, const RankBody& body) {
  try {
    const WaitPolicy wait{.abort_word = &board->abort_word, .timeout_ms = options.timeout_ms, .spin_pauses = 0};
    const auto device = parts.make_device();
    const auto comm = parts.make_comm(*device, board, rank, wait);
    Event done(*device);
    Stream stream(*device, StreamRole::communication);
    RankContext context{*comm, *device, stream, board, done, wait, options.adds_in_tree_order, options.sums_16_bits};
    try {
      body(context);
      context.synchronize();
    } catch (...) {
      if (device->kind() == DeviceKind::cpu) throw;
      // As ddp-rank does: to free GPU memory is to wait for collectives that the peers will never join.
      report_failure(rank, board, options);
      ::_exit(1);
    }
  } catch (...) {
    return report_failure(rank, board, options);
  }
  return {};
}

std::unique_ptr<Device> make_cpu() { return make_cpu_device({.num_threads = 1, .spin_pauses = 0}); }

Fd empty_memory() { return Fd(::memfd_create("test-segment", MFD_CLOEXEC | MFD_ALLOW_SEALING)); }

std::vector<RankResult> run_threads(int size, const WorldOptions& options, const RankBody& body) {
  Board board = Board::create(size);
  const Fd memory = empty_memory();
  ShmSegment::reserve(memory, size, options.symmetric_bytes);
  const auto segment = std::make_shared<ShmSegment>(memory, size, options.symmetric_bytes);
  std::vector<RankResult> results(static_cast<size_t>(size));
  std::vector<std::thread> threads;
  for (int r = 0; r < size; ++r)
    threads.emplace_back([&, r] {
      const auto make_comm = [&](Device&, Board&, int rank, const WaitPolicy& wait) {
        return std::make_unique<ShmComm>(segment, rank, wait);
      };
      results[size_t(r)] = run_rank(r, board, options, {make_cpu, make_comm}, body);
    });
  for (std::thread& thread : threads) thread.join();
  return results;
}

RankParts parts_of_processes(const WorldOptions& options) {
  const auto memory = std::make_shared<Fd>(empty_memory());
  return {make_cpu, [memory, options](Device& device, Board& board, int rank, const WaitPolicy& wait) {
            return make_shm_comm(device, board, Fd(::fcntl(memory->get(), F_DUPFD_CLOEXEC, 0)),
                                 {.rank = rank, .symmetric_bytes = options.symmetric_bytes, .wait = wait});
          }};
}

}  // namespace

std::string World::name() const {
  const char* what = kind == RankKind::solo ? "solo" : kind == RankKind::threads ? "threads" : "processes";
  return fmt::format("{} x {}", size, what);
}

void RankContext::synchronize() const {
  constexpr int64_t kSlackMs = 30'000;  // the stream's own deadline is to end first
  done.record(stream);
  done.synchronize({.abort_word = nullptr, .timeout_ms = wait.timeout_ms + kSlackMs, .spin_pauses = 0});
}

RankProcesses::RankProcesses(int size, const WorldOptions& options, const RankBody& body)
    : RankProcesses(size, options, parts_of_processes(options), body) {}

RankProcesses::RankProcesses(int size, const WorldOptions& options, const RankParts& parts, const RankBody& body)
    : board_(Board::create(size)) {
  for (int r = 0; r < size; ++r) {
    const pid_t pid = ::fork();
    if (pid == 0) ::_exit(run_rank(r, board_, options, parts, body).code == 0 ? 0 : 1);
    pids_.push_back(pid);
  }
}

RankProcesses::~RankProcesses() {
  for (const pid_t pid : pids_) {
    if (pid <= 0) continue;
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
  }
}

RankResult RankProcesses::wait(int rank) {
  int status = 0;
  ::waitpid(std::exchange(pids_[size_t(rank)], 0), &status, 0);
  if (WIFSIGNALED(status)) return {kSignalBase + WTERMSIG(status), "killed"};
  if (WEXITSTATUS(status) == 0) return {};
  const ErrorRecord& error = board_->ranks[size_t(rank)].error;
  if (error.ready.load() == 0) return {WEXITSTATUS(status), "exited without an error"};
  return {error.code, error.text};
}

std::vector<RankResult> RankProcesses::wait_for_all() {
  std::vector<RankResult> results;
  for (size_t r = 0; r < pids_.size(); ++r) results.push_back(wait(int(r)));
  return results;
}

std::vector<RankResult> run_world(const World& world, const WorldOptions& options, const RankBody& body) {
  if (world.kind == RankKind::threads) return run_threads(world.size, options, body);
  if (world.kind == RankKind::solo) {
    Board board = Board::create(1);
    const auto make_comm = [](Device& device, Board&, int, const WaitPolicy&) { return make_solo_comm(device); };
    return {run_rank(0, board, options, {make_cpu, make_comm}, body)};
  }
  return RankProcesses(world.size, options, body).wait_for_all();
}

std::string failures(const std::vector<RankResult>& results) {
  std::string out;
  for (size_t r = 0; r < results.size(); ++r)
    if (results[r].code != 0) out += fmt::format("rank {}: {} ({}); ", r, results[r].text, results[r].code);
  return out;
}

void reduce_for_ever(RankContext& c) {
  const TensorView x{c.comm.allocate_symmetric(kReducedElements * 4), DType::f32, {kReducedElements}};
  FutexWord& progress = c.board->ranks[size_t(c.comm.rank())].phase;
  for (;;) {
    for (int k = 0; k < 8; ++k) c.comm.all_reduce(x, c.stream);
    c.synchronize();
    progress.fetch_add(1);
    wake_all(progress);
  }
}

}  // namespace ddp::test
