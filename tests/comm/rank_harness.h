// Runs a test's body as every rank of a communicator: alone, as threads of this process over one mapping (so that
// ThreadSanitizer sees them), or as forked processes as in a run. A body reports by throwing: Catch's macros are for
// the main thread.
#pragma once

#include <fmt/core.h>
#include <sys/types.h>

#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "runtime/board/board.h"
#include "runtime/comm/communicator.h"
#include "runtime/device/device.h"

namespace ddp::test {

enum class RankKind { solo, threads, processes };

struct World {
  RankKind kind;
  int size;
  std::string name() const;
};

struct RankContext {
  Communicator& comm;
  Device& device;
  Stream& stream;  // a communication stream
  Board& board;
  Event& done;  // outlives the stream, which may still have to record it when a wait fails
  const WaitPolicy& wait;
  bool adds_in_tree_order;  // else sums round in any order
  bool sums_16_bits;
  // Waits for what is enqueued on the stream; rethrows its error.
  void synchronize() const;
};
using RankBody = std::function<void(RankContext&)>;

inline constexpr int kVictim = -1;  // RankResult::code of a rank that ended by Aborted
struct RankResult {
  int code = 0;      // 0, an ExitCode, kVictim, or 128 + signal
  std::string text;  // of the exception
};

struct WorldOptions {
  int64_t symmetric_bytes = 0;
  int64_t timeout_ms = 30'000;
  bool failure_aborts = true;  // a rank that fails sets the abort word, as the launcher would
  bool adds_in_tree_order = true;
  bool sums_16_bits = true;
};

// What ranks compute on and talk through; called in each rank.
struct RankParts {
  std::function<std::unique_ptr<Device>()> make_device;
  std::function<std::unique_ptr<Communicator>(Device&, Board&, int rank, const WaitPolicy&)> make_comm;
};

// Forked ranks, on CPUs over shared memory unless told otherwise; the destructor kills and reaps what is left of them.
class RankProcesses {
 public:
  RankProcesses(int size, const WorldOptions& options, const RankBody& body);
  RankProcesses(int size, const WorldOptions& options, const RankParts& parts, const RankBody& body);
  ~RankProcesses();
  RankProcesses(const RankProcesses&) = delete;
  RankProcesses& operator=(const RankProcesses&) = delete;
  pid_t pid(int rank) const { return pids_[size_t(rank)]; }
  Board& board() { return board_; }
  RankResult wait(int rank);
  std::vector<RankResult> wait_for_all();

 private:
  Board board_;
  std::vector<pid_t> pids_;  // 0: reaped
};

// Runs the body on every rank and returns how each ended.
std::vector<RankResult> run_world(const World& world, const WorldOptions& options, const RankBody& body);
// The texts of the ranks that failed, empty when all succeeded.
std::string failures(const std::vector<RankResult>& results);

// A body for tests that kill a rank: sums without end, and counts them in the rank's `phase`.
void reduce_for_ever(RankContext& context);
inline constexpr int64_t kReducedElements = 1 << 18;  // f32, in symmetric memory

// CHECK for bodies.
template <class... T>
void expect(bool condition, fmt::format_string<T...> format, T&&... values) {
  if (!condition) throw std::runtime_error(fmt::format(format, std::forward<T>(values)...));
}

}  // namespace ddp::test
