#include "runtime/comm/shm_segment.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "runtime/base/bytes_text.h"
#include "runtime/base/rounding.h"
#include "runtime/base/system_limits.h"

namespace ddp {
namespace {

constexpr int64_t kPage = 4096, kHugePage = 2 << 20;
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW;

struct Control {
  alignas(64) BoardBarrier barrier;
  alignas(64) RankLine ranks[];  // num_ranks
};

int64_t control_bytes(int num_ranks) {
  return round_up(int64_t(sizeof(Control)) + num_ranks * int64_t(sizeof(RankLine)), kPage);
}
int64_t rank_bytes(int64_t symmetric_bytes) { return kStagingBytes + round_up(symmetric_bytes, kPage); }
int64_t segment_bytes(int num_ranks, int64_t symmetric_bytes) {
  return control_bytes(num_ranks) + num_ranks * rank_bytes(symmetric_bytes);
}

Control* control(std::byte* base) { return reinterpret_cast<Control*>(base); }

}  // namespace

void ShmSegment::reserve(const Fd& memory, int num_ranks, int64_t symmetric_bytes) {
  const int64_t bytes = segment_bytes(num_ranks, symmetric_bytes);
  // posix_fallocate reports a lack of memory here, as an error; ftruncate alone would end in a SIGBUS at some first
  // touch.
  if (const int e = ::posix_fallocate(memory.get(), 0, bytes); e != 0)
    throw os_error(fmt::format("cannot reserve {} of shared memory for {} ranks", bytes_text(bytes), num_ranks), e);
  if (::fcntl(memory.get(), F_ADD_SEALS, kSeals) != 0) throw os_error("cannot seal the shared memory", errno);
}

ShmSegment::ShmSegment(const Fd& memory, int num_ranks, int64_t symmetric_bytes)
    : num_ranks_(num_ranks), symmetric_bytes_(symmetric_bytes) {
  const int64_t bytes = segment_bytes(num_ranks, symmetric_bytes);
  struct stat info;
  if (::fstat(memory.get(), &info) != 0 || (::fcntl(memory.get(), F_GET_SEALS) & kSeals) != kSeals)
    throw Error(ExitCode::os_resource, "the ranks' shared memory is not a sealed memory file");
  if (info.st_size != bytes)
    throw Error(ExitCode::disagree, fmt::format("rank 0 sized the shared memory to {} bytes, this rank planned {}",
                                                int64_t(info.st_size), bytes));
  // Mapped at a multiple of the huge page, and advised: where the kernel follows, a GiB is brought in within 0.25 s
  // instead of 1.2 s (Linux 6.18, a virtual machine); the speed of an all-reduce is the same either way.
  const int64_t reservation_bytes = bytes + kHugePage;
  reservation_ =
      ::mmap(nullptr, size_t(reservation_bytes), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reservation_ == MAP_FAILED)
    throw os_error(fmt::format("cannot map {} of shared memory", bytes_text(bytes)), errno);
  base_ = reinterpret_cast<std::byte*>(round_up(reinterpret_cast<int64_t>(reservation_), kHugePage));
  if (::mmap(base_, size_t(bytes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, memory.get(), 0) == MAP_FAILED) {
    const int e = errno;
    ::munmap(reservation_, size_t(reservation_bytes));
    throw os_error(fmt::format("cannot map {} of shared memory", bytes_text(bytes)), e);
  }
  ::madvise(base_, size_t(bytes), MADV_HUGEPAGE);
}

ShmSegment::~ShmSegment() { ::munmap(reservation_, size_t(segment_bytes(num_ranks_, symmetric_bytes_) + kHugePage)); }

BoardBarrier& ShmSegment::barrier() const { return control(base_)->barrier; }
RankLine& ShmSegment::line(int rank) const { return control(base_)->ranks[rank]; }
std::byte* ShmSegment::staging(int rank) const {
  return base_ + control_bytes(num_ranks_) + rank * rank_bytes(symmetric_bytes_);
}
std::byte* ShmSegment::symmetric(int rank) const { return staging(rank) + kStagingBytes; }

void ShmSegment::populate(int rank) const {
  // A hint: a kernel older than 5.14 refuses it, and the pages come one by one.
  ::madvise(staging(rank), size_t(rank_bytes(symmetric_bytes_)), MADV_POPULATE_WRITE);
}

}  // namespace ddp
