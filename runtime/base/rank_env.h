// What a rank is told by its environment. ddp-launch writes it and ddp-rank reads it through this one struct, so that
// the two cannot drift apart. RANK, LOCAL_RANK, WORLD_SIZE and LOCAL_WORLD_SIZE carry torchrun's names, so that tools
// know them.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace ddp {

struct RankEnv {
  int rank = 0;                 // RANK
  int local_rank = 0;           // LOCAL_RANK: among the ranks of this host
  int world_size = 1;           // WORLD_SIZE
  int local_world_size = 1;     // LOCAL_WORLD_SIZE
  int board_fd = -1;            // DDP_BOARD_FD: for Board::attach
  int segment_fd = -1;          // DDP_SEGMENT_FD: an empty memfd (sealing allowed) for the collectives; rank 0 sizes it
  std::string device = "cpu";   // DDP_DEVICE: cpu | cuda
  int device_index = 0;         // DDP_DEVICE_INDEX: the GPU; on the CPU the number of the rank
  bool tty = false;             // DDP_TTY: the launcher's stdout is a terminal, so transient status lines are welcome
  std::string resume = "none";  // DDP_RESUME: auto | none | PATH of a checkpoint
  std::vector<std::string> accepted = {};  // DDP_ACCEPTED, "a,b": the keys of which a resume accepts a change
  int64_t stop_after = 0;          // DDP_STOP_AFTER: commit and exit with stopped_early (75) after this step; 0: never
  bool shares_gpu = false;         // DDP_SHARE_GPU: other ranks are on the same GPU, in a test
  std::string cuda_module = {};    // DDP_CUDA_MODULE: the path of the CUDA backend; empty on the CPU
  std::string site_packages = {};  // DDP_SITE_PACKAGES: Python's, where NVIDIA's libraries are found only there
  std::string visible_gpu = {};    // CUDA_VISIBLE_DEVICES: the UUID of the rank's one GPU; empty: left as it is
};

// From the environment of this process. Errors: rendezvous (69) when a variable is missing or a descriptor is not open
// (not started by ddp-launch), usage (64) when a value does not parse or is out of range. Both name the variable.
RankEnv read_rank_env();

// The same as (name, value) pairs, for the launcher.
std::vector<std::pair<std::string, std::string>> to_environment(const RankEnv& env);

}  // namespace ddp
