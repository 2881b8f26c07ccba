#include "runtime/comm/capture_check.h"

#include <algorithm>

#include "runtime/base/error.h"

namespace ddp {
namespace {

// A slice of 16 bytes and more for each of the most ranks, and a rest: a deterministic sum is made of both.
constexpr int64_t kCount = 4 * kMaxRanks + 3;

}  // namespace

CaptureCheck::CaptureCheck(Communicator& comm, Device& device, Board& board)
    : comm_(comm),
      device_(device),
      board_(board),
      x_(device, kCount),
      compute_(device, StreamRole::compute),
      communication_(device, StreamRole::communication),
      forked_(device),
      joined_(device),
      done_(device),
      input_(device, kCount),
      other_input_(device, kCount),
      eager_(device, kCount),
      replayed_(device, kCount) {
  for (int64_t i = 0; i < kCount; ++i) {
    input_.data()[i] = float(comm.rank() + 1) + float(i) / 4;
    other_input_.data()[i] = -input_.data()[i];
  }
}

int CaptureCheck::num_failed(const WaitPolicy& limit, const WaitPolicy& of_run) {
  std::optional<Graph> graph;
  // No rank replays what another one could not capture: it would wait for that one.
  const int num_failed = vote(of_run, [&] {
    sum(input_, eager_, limit, [&] { enqueue_sum(); });
    // A replay that misses a part of the sum finds the wrong numbers wherever that part would have left them.
    sum(other_input_, replayed_, limit, [&] { enqueue_sum(); });
    graph.emplace(compute_, [&] { enqueue_sum(); });
  });
  if (num_failed > 0) return num_failed;
  return vote(of_run, [&] {
    sum(input_, replayed_, limit, [&] { graph->launch(compute_); });
    if (!std::equal(eager_.data(), eager_.data() + kCount, replayed_.data()))
      fault_ = "a replayed all-reduce did not give the sum of the eager one";
  });
}

// As a step does it: forked off the captured stream, and joined.
void CaptureCheck::enqueue_sum() {
  forked_.record(compute_);
  communication_.wait(forked_);
  comm_.all_reduce(x_.view(), communication_);
  joined_.record(communication_);
  compute_.wait(joined_);
}

template <class Enqueue>
void CaptureCheck::sum(const HostBuffer<float>& input, const HostBuffer<float>& result, const WaitPolicy& wait,
                       Enqueue enqueue) {
  compute_.copy(x_.data(), input.data(), x_.bytes());
  enqueue();
  compute_.copy(result.data(), x_.data(), x_.bytes());
  done_.record(compute_);
  done_.synchronize(wait);
}

template <class Attempt>
int CaptureCheck::vote(const WaitPolicy& of_run, Attempt attempt) {
  try {
    attempt();
  } catch (const Error& e) {
    fault_ = e.what();
  }
  return board_->nccl_vote.count_against(!fault_.empty(), board_->world_size, of_run,
                                         "the vote on captured collectives");
}

}  // namespace ddp
