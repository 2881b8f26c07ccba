// Runs a started group of ranks to its end: one epoll loop (pidfds, signals, a timer, log pipes) feeds the supervisor's
// state machine and carries out its actions. All system calls of supervision are here; all decisions are in
// supervisor.cpp.
#pragma once

#include <functional>

#include "launcher/console.h"
#include "launcher/log_mux.h"
#include "launcher/signals.h"
#include "launcher/spawn.h"
#include "launcher/supervisor.h"
#include "runtime/board/board.h"

namespace ddp {

struct Supervision {
  Board& board;
  RankGroup& ranks;
  LogMux& logs;
  Console& console;
  const Signals& signals;
  SupervisorLimits limits;
  std::function<void(int64_t now_ns)> on_tick;  // ten times a second, may be empty
  int holder_fd = -1;                           // once its other end is closed the run is to stop; -1: none
};

// Returns when every rank is gone and all its output has been taken. Errors: os_resource (71).
Outcome supervise(const Supervision& job);

// The newest step that a rank is in or has done.
int64_t newest_step(const Board& board);

}  // namespace ddp
