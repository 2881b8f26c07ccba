#include "tests/comm/rank_harness.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <thread>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/comm/shm_comm.h"

namespace ddp::test {
namespace {

constexpr int kOtherException = 1;

using MakeComm = std::function<std::unique_ptr<Communicator>(Device&, const WaitPolicy&)>;

RankResult run_rank(int rank, Board& board, const WorldOptions& options, const MakeComm& make_comm,
                    const RankBody& body) {
  RankResult result;
  try {
    const WaitPolicy wait{.abort_word = &board->abort_word, .timeout_ms = options.timeout_ms, .spin_pauses = 0};
    const auto device = make_cpu_device({.num_threads = 1, .spin_pauses = 0});
    const auto comm = make_comm(*device, wait);
    Event done(*device);
    Stream stream(*device, StreamRole::communication);
    RankContext context{*comm, *device, stream, board, done, wait};
    body(context);
    context.synchronize();
  } catch (const Error& error) {
    result = {int(error.code()), error.what()};
  } catch (const Aborted& error) {
    result = {kVictim, error.what()};
  } catch (const std::exception& error) {
    result = {kOtherException, error.what()};
  }
  if (result.code != 0) board.report_error(rank, result.code, result.text);
  if (result.code != 0 && options.failure_aborts) board->abort_word.store(uint32_t(rank) + 1);
  return result;
}

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
      const MakeComm make = [&](Device&, const WaitPolicy& wait) {
        return std::make_unique<ShmComm>(segment, r, wait);
      };
      results[size_t(r)] = run_rank(r, board, options, make, body);
    });
  for (std::thread& thread : threads) thread.join();
  return results;
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
    : board_(Board::create(size)) {
  const Fd memory = empty_memory();
  for (int r = 0; r < size; ++r) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      const MakeComm make = [&](Device& device, const WaitPolicy& wait) {
        return make_shm_comm(device, board_, Fd(::fcntl(memory.get(), F_DUPFD_CLOEXEC, 0)),
                             {.rank = r, .symmetric_bytes = options.symmetric_bytes, .wait = wait});
      };
      ::_exit(run_rank(r, board_, options, make, body).code == 0 ? 0 : 1);
    }
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
  return {error.code, error.text};
}

std::vector<RankResult> run_world(const World& world, const WorldOptions& options, const RankBody& body) {
  std::vector<RankResult> results;
  if (world.kind == RankKind::threads) return run_threads(world.size, options, body);
  if (world.kind == RankKind::solo) {
    Board board = Board::create(1);
    const MakeComm make = [](Device& device, const WaitPolicy&) { return make_solo_comm(device); };
    return {run_rank(0, board, options, make, body)};
  }
  RankProcesses ranks(world.size, options, body);
  for (int r = 0; r < world.size; ++r) results.push_back(ranks.wait(r));
  return results;
}

std::string failures(const std::vector<RankResult>& results) {
  std::string out;
  for (size_t r = 0; r < results.size(); ++r)
    if (results[r].code != 0) out += fmt::format("rank {}: {} ({}); ", r, results[r].text, results[r].code);
  return out;
}

}  // namespace ddp::test
