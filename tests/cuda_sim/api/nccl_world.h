// What the simulated NCCL's ranks share: memory without a name, found through the unique id (the first rank's process
// and descriptor).
#pragma once

#include <nccl.h>
#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace ddp::sim {

inline constexpr int kMaxNcclRanks = 16;
inline constexpr size_t kPostBytes = 1 << 20;  // of a collective's input that is under way at a time, by rank

// What a rank is doing: compared by the others.
struct Call {
  char name[24];
  int64_t bytes, offset;  // offset of the buffer in the rank's device memory
  int32_t type, op, root;
};

// Where a rank is: its GPU's UUID, empty where it was pinned to none, and what it takes for its host.
struct RankPlace {
  int pid;
  char gpu[64], host[128];
};

struct NcclWorld {
  std::atomic<int> num_joined, num_finalizing;
  uint64_t seed;
  std::atomic<uint64_t> put[kMaxNcclRanks], taken[kMaxNcclRanks];  // pieces so far
  Call calls[kMaxNcclRanks];
  RankPlace places[kMaxNcclRanks];
};

// Creates the memory and writes how to find it. False: no memory.
bool create_world(ncclUniqueId& id);
// Maps it; nullptr: it is not there.
NcclWorld* open_world(const ncclUniqueId& id, int num_ranks);
void close_world(NcclWorld* world, int num_ranks);
std::byte* post_of(NcclWorld* world, int rank);

}  // namespace ddp::sim
