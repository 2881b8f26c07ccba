// The shared memory of a host's CPU ranks: a control block, then for each rank a staging area and a symmetric area.
// Every rank maps all of it, so that a peer's gradients are read in place. One mapping may serve several ranks that are
// threads of a process.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/base/fs.h"
#include "runtime/board/board.h"
#include "runtime/comm/collective_record.h"

namespace ddp {

inline constexpr int64_t kStagingBytes = 256 << 10;  // a piece of a tensor outside symmetric memory; stays in L2
inline constexpr int kTraceLength = 256;             // collectives that a rank's ring remembers

// What a rank shows to the others; written by that rank only.
struct alignas(64) RankLine {
  std::atomic<uint32_t> arrivals;  // barriers this rank has come to: who is behind when a wait ends without it
  alignas(64) CollectiveRecord ring[kTraceLength];  // collective n is at n % kTraceLength
};

class ShmSegment {
 public:
  // Sizes and seals an empty memfd and reserves its pages. By one rank. Errors: os_resource (71).
  static void reserve(const Fd& memory, int num_ranks, int64_t symmetric_bytes);
  // Maps a reserved segment. Errors: os_resource (71) when it cannot be mapped or is not sealed, disagree (76) when it
  // was sized for another plan.
  ShmSegment(const Fd& memory, int num_ranks, int64_t symmetric_bytes);
  ~ShmSegment();
  ShmSegment(const ShmSegment&) = delete;
  ShmSegment& operator=(const ShmSegment&) = delete;

  int num_ranks() const { return num_ranks_; }
  int64_t symmetric_bytes() const { return symmetric_bytes_; }
  BoardBarrier& barrier() const;
  RankLine& line(int rank) const;
  std::byte* staging(int rank) const;    // kStagingBytes
  std::byte* symmetric(int rank) const;  // symmetric_bytes(), zero at first
  // Brings a rank's areas into this process's page table now, rather than fault by fault in the first step.
  void populate(int rank) const;

 private:
  int num_ranks_;
  int64_t symmetric_bytes_;
  void* reservation_ = nullptr;  // address space, a huge page more than the mapping
  std::byte* base_ = nullptr;
};

}  // namespace ddp
