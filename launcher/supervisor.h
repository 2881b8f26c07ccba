// The policy of a run, as a pure state machine: what happened goes in, what to do comes out. It makes no system call
// and keeps no clock, so every fault can be played to it in a table-driven test; supervise.cpp feeds it and carries out
// its actions.
//
//   running --INT, TERM, HUP, PWR, XCPU, the holder is gone--> stopping --INT that is meant--> killed
//      |                                                          |
//      +---- a rank fails ----------------------------------------+--> failing --grace over, or a signal-->
//                                                                      (SIGKILL) --all gone--> done
//
// A stop is often said more than once: by a manager to the launcher and then to all processes, by a terminal that
// closes, by a Ctrl-C that a wrapper passes on. So only INT escalates, the signal that a person sends: when it comes
// again more than 2 s after the first INT, or for the third time. A manager that means it has KILL.
//
// The first failure decides: the rank that holds the board's first-failure word, else the first abnormal exit that is
// seen.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runtime/board/board.h"

namespace ddp {

// What is known of one rank, copied from the board and /proc.
struct RankView {
  Phase phase = Phase::not_started;
  int64_t step = 0;
  int32_t bucket = -1;
  int64_t heartbeat_ns = 0;
  int64_t io_bytes = 0;   // read and written so far, of a rank that loads or writes a checkpoint
  bool reported = false;  // an error record is complete
  int error_code = 0;     // of that record
  std::string error_text;
  bool stopped = false;  // by SIGSTOP
};

struct RankExit {
  int rank = 0;
  int wait_status = 0;  // as of waitpid
  bool oom = false;     // the kernel's out-of-memory killer was busy meanwhile
};

struct Action {
  enum class Kind {
    abort,               // set the abort word to 1 + rank (or kAbortByUser for rank -1), wake the waiters
    kill,                // SIGKILL the process groups of all ranks that still live
    request_stop,        // finish the step, commit, exit with stopped_early (75)
    request_checkpoint,  // commit at the next step and go on
    suspend,             // stop the ranks and the launcher itself until it is continued, then on_continued
    say,                 // `text` to the user
  };
  Kind kind;
  int rank = -1;
  std::string text;
};
using Actions = std::vector<Action>;

enum class RunState { running, finished, stopped, failed };
const char* run_state_name(RunState state);

struct Failure {
  int rank = -1;
  RankView where;  // when it failed
  std::string cause;
  int exit_code = 0;
  std::vector<std::string> also;  // other ranks that failed by themselves: "rank 3: killed by SIGSEGV"
  std::vector<int> victims;       // ranks that lived and were made to stop
  int64_t stop_ns = 0;            // from the failure to the last exit
};

struct Outcome {
  RunState state = RunState::running;
  int exit_code = 0;
  int signal = 0;   // not 0: end with this signal, so that a shell sees it
  Failure failure;  // of RunState::failed
};

struct SupervisorLimits {
  int64_t hang_ns = 600'000'000'000;   // without progress of any rank, in time that the launcher itself ran
  int64_t grace_ns = 2'000'000'000;    // from the abort word to SIGKILL
  int64_t stopped_ns = 1'000'000'000;  // until a stopped rank is worth a warning
  int64_t gap_ns = 1'000'000'000;  // a longer time between two ticks means that the launcher was stopped: not counted
  int64_t repeat_ns = 2'000'000'000;  // requests to stop that come together are one, and one INT is none that is meant
  bool has_commits = true;            // false: there is nothing to save, and a request to stop ends the run at once
};

class Supervisor {
 public:
  Supervisor(int num_ranks, const SupervisorLimits& limits, int64_t now_ns);

  // `first_failure` is the board's word after the caller offered it to an abnormally exited rank: 1 + rank, 0 none.
  Actions on_exit(const RankExit& exit, std::span<const RankView> ranks, uint32_t first_failure, int64_t now_ns);
  Actions on_signal(int signal, int64_t now_ns);
  // What --stop-when-closed watches was closed: as a TERM, but for the words.
  Actions on_holder_gone(int64_t now_ns);
  // After a suspension, which is no time in which the launcher ran.
  void on_continued(int64_t now_ns) { last_tick_ns_ = now_ns; }
  // Several times a second.
  Actions on_tick(std::span<const RankView> ranks, uint32_t first_failure, int64_t now_ns);

  bool done() const { return num_alive_ == 0; }
  // Whether the last tick saw some rank advance.
  bool saw_progress() const { return idle_ns_ == 0; }
  // Meaningful once done.
  const Outcome& outcome() const { return outcome_; }
  // Whether this end of a rank is a failure by itself.
  static bool is_failure(int wait_status, Phase phase);

 private:
  enum class Mode { running, stopping, failing, killed };
  struct Rank {
    bool alive = true;
    int wait_status = 0;
    int64_t stopped_for_ns = 0;
    bool stop_told = false;
  };

  Actions on_stop(int signal, const std::string& why, int64_t now_ns);
  Actions end_at_once(int signal);
  Actions fail(int rank, int exit_code, const std::string& cause, std::span<const RankView> ranks, int64_t now_ns);
  void warn_of_stopped(std::span<const RankView> ranks, int64_t ran_ns, Actions& actions);
  bool hangs(std::span<const RankView> ranks, int64_t ran_ns);
  void conclude(int64_t now_ns);

  SupervisorLimits limits_;
  std::vector<Rank> ranks_;
  int num_alive_;
  Mode mode_ = Mode::running;
  bool kill_sent_ = false;
  int num_interrupts_ = 0;          // INTs
  int64_t first_interrupt_ns_ = 0;  // when the first came
  int64_t answered_ns_ = 0;         // when the user was last told about a stop
  int64_t failed_at_ns_ = 0;
  int64_t winding_down_ns_ = 0;  // launcher-running time since then
  int64_t last_tick_ns_;
  int64_t idle_ns_ = 0;         // launcher-running time without progress
  std::vector<int64_t> pulse_;  // per rank, what progress would change
  Outcome outcome_;
};

}  // namespace ddp
