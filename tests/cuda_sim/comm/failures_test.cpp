// What ranks over NCCL do when something fails: each process ends soon, whatever its GPU is stuck in.
#include <signal.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <thread>
#include <utility>

#include "runtime/base/clock.h"
#include "tests/cuda_sim/comm/nccl_ranks.h"
#include "tests/support/time_limit.h"

using namespace ddp;
using namespace ddp::test;
using Catch::Matchers::Contains;

namespace {

constexpr double kSoonMs = 2000;
constexpr WaitPolicy kPatient = {.timeout_ms = 60'000};  // of a busy machine
const WorldOptions kOptions = {.symmetric_bytes = kReducedElements * 4};

// Of ranks that end because another one failed.
void check_ended_as_victim(const RankResult& result) {
  INFO(result.text);
  CHECK((result.code == kVictim || result.code == int(ExitCode::rendezvous)));
}

}  // namespace

TEST_CASE("a peer that is killed inside an all_reduce ends the others within 2 s, and none of them says it failed") {
  for (const auto& [deterministic, blocking] : {std::pair{false, NcclBlocking::no},
                                                {true, NcclBlocking::no},
                                                {false, NcclBlocking::yes},
                                                {true, NcclBlocking::yes}}) {
    const NcclWorld world = {.size = 3, .deterministic = deterministic, .streams = "random", .blocking = blocking};
    const auto kill_a_peer = [&] {
      RankProcesses ranks(world.size, kOptions, parts_of(world, kOptions), reduce_for_ever);
      wait_until_reached(ranks.board()->ranks[1].phase, 2, kPatient, "progress");
      ::kill(ranks.pid(1), SIGKILL);
      CHECK(ranks.wait(1).code == kSignalBase + SIGKILL);
      const int64_t killed = monotonic_ns();
      ranks.board()->abort_word.store(2);  // the launcher's part
      check_ended_as_victim(ranks.wait(0));
      check_ended_as_victim(ranks.wait(2));
      return ms_between(killed, monotonic_ns());
    };
    CHECK(best_ms(kSoonMs, kill_a_peer) < kSoonMs);
  }
}

TEST_CASE("an asynchronous error of NCCL is the error of its rank, with step and bucket") {
  const NcclWorld world = {.size = 2, .fault = "nccl-error"};
  RankProcesses ranks(world.size, kOptions, parts_of(world, kOptions), [](RankContext& c) {
    RankStatus& status = c.board->ranks[size_t(c.comm.rank())];
    status.step.store(7);
    status.bucket.store(3);
    const TensorView x{c.comm.allocate_symmetric(4000), DType::f32, {1000}};
    for (;;) {
      c.comm.all_reduce(x, c.stream);
      c.synchronize();
    }
  });
  const RankResult failed = ranks.wait(1);
  CHECK(failed.code == int(ExitCode::os_resource));
  CHECK_THAT(failed.text, Contains("rank 1 step 7 bucket 3: NCCL: unhandled system error"));
  CHECK(ranks.board()->first_failure.load() == 2);
  ranks.board()->abort_word.store(2);
  check_ended_as_victim(ranks.wait(0));
}

TEST_CASE("NCCL's word of a peer's death does not make a victim the first to fail") {
  // The launcher may take a while to see a death; an attempt in which this process took too long itself says nothing.
  constexpr auto kSlowLauncher = std::chrono::milliseconds(100);
  constexpr double kMostMs = 180;
  const NcclWorld world = {.size = 3, .fault = "nccl-remote-error"};
  const auto kill_a_peer = [&] {
    RankProcesses ranks(world.size, kOptions, parts_of(world, kOptions), reduce_for_ever);
    wait_until_reached(ranks.board()->ranks[1].phase, 2, kPatient, "progress");
    const int64_t killed = monotonic_ns();
    ::kill(ranks.pid(1), SIGKILL);
    std::this_thread::sleep_for(kSlowLauncher);
    uint32_t none = 0;
    ranks.board()->first_failure.compare_exchange_strong(none, 2);
    ranks.board()->abort_word.store(2);
    const double took_ms = ms_between(killed, monotonic_ns());
    for (const int rank : {0, 2}) {
      const RankResult victim = ranks.wait(rank);
      if (took_ms < kMostMs) check_ended_as_victim(victim);
    }
    if (took_ms < kMostMs) CHECK(ranks.board()->first_failure.load() == 2);
    return took_ms;
  };
  CHECK(best_ms(kMostMs, kill_a_peer) < kMostMs);
}

TEST_CASE("an abort that hangs does not keep the process for more than 2 s") {
  const NcclWorld world = {.size = 2, .fault = "nccl-abort-hangs"};
  const auto abort_in_a_barrier = [&] {
    RankProcesses ranks(world.size, kOptions, parts_of(world, kOptions), [](RankContext& c) {
      c.comm.barrier(c.stream);
      c.synchronize();
      FutexWord& phase = c.board->ranks[size_t(c.comm.rank())].phase;
      phase.store(1);
      wake_all(phase);
      if (c.comm.rank() == 1)
        for (;;) ::pause();  // never comes
      c.comm.barrier(c.stream);
    });
    wait_until_reached(ranks.board()->ranks[0].phase, 1, kPatient, "the first barrier");
    const int64_t begin = monotonic_ns();
    ranks.board()->abort_word.store(kAbortByUser);
    check_ended_as_victim(ranks.wait(0));
    check_ended_as_victim(ranks.wait(1));  // in no call of NCCL at all
    return ms_between(begin, monotonic_ns());
  };
  CHECK(best_ms(kSoonMs, abort_in_a_barrier) < kSoonMs);  // the watchdog gives an abort 500 ms
}

TEST_CASE("ranks that cannot meet say so") {
  const WorldOptions options = {.timeout_ms = 200};
  const NcclWorld world = {.size = 2};
  RankProcesses ranks(world.size, options, parts_of_rank_0_alone(world, options), [](RankContext&) {});
  CHECK(ranks.wait(1).code == 0);
  const RankResult alone = ranks.wait(0);
  CHECK(alone.code == int(ExitCode::rendezvous));
  CHECK_THAT(alone.text, Contains("ncclCommInitRankConfig did not begin on every rank"));
}
