// Starts the ranks and owns them: whatever happens to the launcher, no rank outlives it. Each rank has a process group
// of its own (so that its children die with it), dies with the launcher (PR_SET_PDEATHSIG), ignores the signals that
// are the launcher's to take (launcher/signals.h), reads /dev/null, and writes stdout and stderr into one pipe. It
// inherits the board, the collectives' segment, and no other descriptor.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/fs.h"
#include "runtime/base/rank_env.h"
#include "runtime/board/board.h"

namespace ddp {

struct RankProcess {
  pid_t pid = -1;
  Fd pidfd;  // readable once the process has ended
  Fd log;    // read end of its output, non-blocking
  bool alive = true;
  bool suspended = false;  // by RankGroup::suspend
};

class RankGroup {
 public:
  // Starts `program` once for each environment. Errors: os_resource (71) where fork fails or descriptors run out; ranks
  // already started are gone by then.
  RankGroup(const std::filesystem::path& program, const std::vector<RankEnv>& envs, Board& board);
  RankGroup(const RankGroup&) = delete;
  RankGroup& operator=(const RankGroup&) = delete;
  ~RankGroup() { end_all(); }

  int size() const { return int(ranks_.size()); }
  const RankProcess& operator[](int rank) const { return ranks_[size_t(rank)]; }

  int reap(int rank);               // of a rank that ended: also ends its process group; returns the wait status
  void kill_all();                  // SIGKILL to every process group that still has a rank
  void suspend();                   // SIGSTOP to these groups, but for ranks that somebody else has stopped
  void resume();                    // SIGCONT to the groups that suspend stopped
  bool is_stopped(int rank) const;  // by SIGSTOP
  // What it has read and written so far, as the kernel counts it; 0 where that is not known.
  int64_t io_bytes(int rank) const;

 private:
  void end_all();  // kills and reaps what still lives

  std::vector<RankProcess> ranks_;
};

// A memfd without a name or size, that ranks can size and seal. Errors: os_resource (71).
Fd create_segment();

// Replaces this process by `program` with these arguments; `input` becomes its standard input, when not empty.
// Errors: os_resource (71).
[[noreturn]] void exec_program(const std::filesystem::path& program, const std::vector<std::string>& args, Fd input);

// A descriptor from which `text` can be read. Errors: os_resource (71).
Fd text_as_input(std::string_view text);

}  // namespace ddp
