// Collectives between the CPU ranks of one host, over a ShmSegment. An all-reduce is a direct reduce-scatter +
// all-gather in place: a barrier; each rank sums its own 1/R of the elements over all ranks' memory and stores the
// result into all of them; a barrier. So each element is summed once, by one owner, and nothing is copied. It is bound
// by memory bandwidth.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "runtime/comm/communicator.h"
#include "runtime/comm/shm_segment.h"

namespace ddp {

class ShmComm final : public Communicator {
 public:
  // `rank` of segment->num_ranks(). Ranks that are threads of one process may share a segment.
  ShmComm(std::shared_ptr<ShmSegment> segment, int rank, const WaitPolicy& wait);

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  void* allocate_symmetric(int64_t bytes) override;

  // A rank's input is in symmetric memory on every rank or on none (there are two barriers for each piece that is
  // staged). In symmetric memory its offset may differ between ranks. reduce_scatter and all_gather work in place, too:
  // out (or in) may be the rank's own rows of in (or out).
  void all_reduce(const TensorView& x, Stream& stream) override;
  void broadcast(const TensorView& x, int root, Stream& stream) override;
  void reduce_scatter(const TensorView& in, const TensorView& out, Stream& stream) override;
  void all_gather(const TensorView& in, const TensorView& out, Stream& stream) override;
  void barrier(Stream& stream) override;

 private:
  CollectiveRecord describe(Collective op, const TensorView& in, int root) const;

  // All of these run on the stream's thread.
  void announce(CollectiveRecord record);  // numbers it and shows it to the others
  void meet(const char* where);            // a barrier; its error names the ranks that did not come
  void compare_with_peers();  // after the first meeting: the record of every rank matches, or Error(disagree)
  template <class Work, class After>
  void run(const CollectiveRecord& record, const TensorView& in, Work work, After after);
  template <class T>
  void sum_own_share(int64_t n);
  template <class T>
  void sum_rows(std::byte* out, int64_t begin, int64_t end);

  std::shared_ptr<ShmSegment> segment_;
  const int rank_, size_;
  const WaitPolicy wait_;
  int64_t symmetric_used_ = 0;
  uint64_t num_collectives_ = 0;
  std::vector<std::byte*> sources_;  // where this process sees each rank's input (or the staged piece of it)
};

}  // namespace ddp
