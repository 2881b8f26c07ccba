// Whether collectives of a communicator can be captured into graphs: one all-reduce is captured and replayed, and must
// give what the eager one gave, on every rank. Asked of NCCL at the start of a run (NcclBlocking): what a
// library does in a capture is not known before it was tried.
#pragma once

#include <optional>
#include <string>

#include "runtime/comm/communicator.h"

namespace ddp {

class CaptureCheck {
 public:
  // All of them outlive it.
  CaptureCheck(Communicator& comm, Device& device, Board& board);

  // Collective: the number of ranks on which it failed, the same on each, where a wait beyond `limit` is a failure.
  // Where there are some, work may be stuck on the device: the communicator is to be aborted before this is destroyed.
  // Throws as waits on the board do, which wait by the policy `of_run`.
  int num_failed(const WaitPolicy& limit, const WaitPolicy& of_run);
  const std::string& fault() const { return fault_; }  // of this rank; empty: none

 private:
  void enqueue_sum();
  template <class Enqueue>
  void sum(const HostBuffer<float>& input, const HostBuffer<float>& result, const WaitPolicy& wait, Enqueue enqueue);
  template <class Attempt>
  int vote(const WaitPolicy& of_run, Attempt attempt);

  Communicator& comm_;
  Device& device_;
  Board& board_;
  const Buffer<float> x_;
  Stream compute_, communication_;
  Event forked_, joined_, done_;
  HostBuffer<float> input_, other_input_, eager_, replayed_;
  std::string fault_;
};

}  // namespace ddp
