// The board: one page-aligned block of shared memory that the launcher creates without a name (memfd) and every rank
// inherits. It is the rendezvous (barrier, NCCL id), the status board that can be read during a hang, and the way to
// stop: no port, no file, no name, so nothing can leak or be taken. Everything in it is fixed-size and lock-free,
// because any process may die at any instruction.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "runtime/base/fs.h"
#include "runtime/base/wait.h"

namespace ddp {

inline constexpr int kMaxRanks = 64;
inline constexpr int kMaxConfigBytes = 1 << 20;
inline constexpr int kMaxResultBytes = 8 * 1024;

// What the forked ranks are asked to do.
enum class Job : uint32_t {
  train = 0,
  barrier = 1,   // meet once and leave (the launch benchmark)
  evaluate = 2,  // evaluate a model and leave
};

// Where a rank's host thread is: what it enqueues or waits for. Written by the rank at each change, read by anyone. In
// the order in which a rank passes through a step, so that of two ranks in one step the smaller is behind.
enum class Phase : uint32_t {
  not_started,
  rendezvous,
  plan,
  load,
  data_wait,
  forward,
  backward,  // of the last micro-batch of a step, from its first bucket on
  update,
  checkpoint,
  evaluate,
  finished,
};
const char* phase_name(Phase phase);

// Fixed-size text that one process writes once and others may read afterwards.
struct ErrorRecord {
  std::atomic<uint32_t> ready;  // 1 after text and code are complete
  int32_t code;                 // exit code
  char text[1024];              // one line, NUL-terminated
};

struct RankStatus {
  std::atomic<uint32_t> pid;
  std::atomic<uint32_t> phase;  // Phase
  std::atomic<int64_t> step;    // the step being run, 0 before the first
  std::atomic<int32_t> bucket;  // whose all-reduce was last enqueued in this step, or is now; -1 none
  std::atomic<int64_t> heartbeat_ns;
  std::atomic<int64_t> memory_bytes;  // device memory in use
  // Start-up stamps (monotonic_ns): main entered, first barrier passed, model and data ready, first step done.
  std::atomic<int64_t> entered_ns, met_ns, loaded_ns, first_step_ns;
  ErrorRecord error;
};

// Counts arrivals; a generation ends when all have come. Never a process-shared pthread barrier: that hangs when a peer
// dies.
struct BoardBarrier {
  FutexWord arrived;
  FutexWord generation;
  // Called by each of n processes (or threads). Throws as wait_while_equal does.
  void arrive_and_wait(uint32_t n, const WaitPolicy& policy, const char* where);
};

// A question on which all ranks must go on alike. A no stands: later votes of the run are lost too.
struct BoardVote {
  BoardBarrier barrier;
  std::atomic<uint32_t> num_against;
  // Called by each of n processes (or threads): how many of them are against. Throws as wait_while_equal does.
  int count_against(bool is_against, uint32_t n, const WaitPolicy& policy, const char* where);
};

struct BoardLayout {
  uint64_t magic;
  uint32_t version;
  uint32_t world_size;
  uint32_t job;                          // Job
  uint32_t oversubscribed;               // 1: ranks x threads > cores, waits do not spin
  int64_t launched_ns;                   // when the launcher's main began
  FutexWord abort_word;                  // non-zero: stop now, another rank failed (1 + that rank), or kAbortByUser
  std::atomic<uint32_t> first_failure;   // 1 + the first rank to fail, by compare-and-swap; 0: none
  std::atomic<uint32_t> stop_requested;  // 1: finish the step, commit, exit with stopped_early (75)
  std::atomic<uint32_t> checkpoint_requests;  // counts SIGUSR1: commit at the next step and go on
  std::atomic<uint32_t> progress;             // changes while the launcher sees ranks advance: renews their deadlines
  BoardBarrier barrier;
  BoardVote nccl_vote;      // that captured collectives work
  FutexWord nccl_id_ready;  // counts the ids so far: one a communicator
  std::array<unsigned char, 128> nccl_id;
  uint32_t config_bytes;
  std::array<char, kMaxConfigBytes> config;  // the resolved YAML
  std::array<RankStatus, kMaxRanks> ranks;
  std::atomic<uint32_t> refuses_data;  // 1: rank 0 goes on with the run's data alone (--accept-change data.train)
  std::atomic<int64_t> metrics_from;   // bytes of metrics.jsonl that are of earlier starts; before rank 0's loaded_ns
  uint32_t wants_json;                 // of Job::evaluate: the form of its result
  std::array<char, kMaxResultBytes> result;  // of Job::evaluate, by rank 0: what the launcher prints, NUL-terminated
};
inline constexpr uint32_t kAbortByUser = 0xFFFFFFFFu;

// Owns one mapping of a board; move-only.
class Board {
 public:
  // Creates the memory (memfd, 0600, size sealed, pages reserved) for `world_size` ranks. Errors: os_resource (71).
  static Board create(int world_size);
  // Maps an inherited board and checks magic, version, size and seals. Takes ownership of the descriptor. Errors:
  // rendezvous (69).
  static Board attach(Fd fd);
  Board(Board&&) noexcept;
  Board& operator=(Board&&) = delete;
  ~Board();

  BoardLayout& operator*() const { return *layout_; }
  BoardLayout* operator->() const { return layout_; }
  const Fd& fd() const { return fd_; }

  void set_config(
      std::string_view text);  // launcher, before the fork; a longer text than kMaxConfigBytes is an Error(config)
  std::string config() const;
  void set_result(std::string_view text);  // rank 0, before its phase is `finished`
  std::string result() const;
  // Records `text` as rank's error and takes the first-failure word when it is free. Async-signal-safe parts only.
  void report_error(int rank, int code, std::string_view text);

 private:
  Board(Fd fd, BoardLayout* layout) : fd_(std::move(fd)), layout_(layout) {}
  Fd fd_;
  BoardLayout* layout_;
};

}  // namespace ddp
