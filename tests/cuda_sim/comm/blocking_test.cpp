// Whether calls of NCCL block (NcclBlocking), how that is found out, and how calls that block end.
#include <algorithm>
#include <catch2/catch.hpp>

#include "runtime/base/clock.h"
#include "tests/cuda_sim/comm/nccl_ranks.h"
#include "tests/support/time_limit.h"

using namespace ddp;
using namespace ddp::test;
using Catch::Matchers::Contains;

namespace {

constexpr double kSoonMs = 2000;
constexpr WaitPolicy kPatient = {.timeout_ms = 60'000};  // of a busy machine
const WorldOptions kOptions = {.symmetric_bytes = 4096, .adds_in_tree_order = false};

// A graph with an all-reduce of ones, launched twice.
void sum_in_graph(RankContext& c) {
  constexpr int64_t kCount = 8;
  const TensorView x{c.comm.allocate_symmetric(kCount * 4), DType::f32, {kCount}};
  HostBuffer<float> ones(c.device, kCount), sums(c.device, kCount);
  std::fill_n(ones.data(), kCount, 1.0f);
  const auto copy = [&](void* to, const void* from) { c.stream.copy(to, from, kCount * 4); };
  const Graph graph(c.stream, [&] { c.comm.all_reduce(x, c.stream); });
  for (int launch = 0; launch < 2; ++launch) {
    copy(x.data, ones.data());
    graph.launch(c.stream);
    copy(sums.data(), x.data);
    c.synchronize();
    for (int64_t i = 0; i < kCount; ++i)
      expect(sums.data()[i] == float(c.comm.size()), "launch {}: {} on {} ranks", launch, sums.data()[i],
             c.comm.size());
  }
}

std::string ends(const NcclWorld& world, const WorldOptions& options, const RankBody& body) {
  return failures(RankProcesses(world.size, options, parts_of(world, options), body).wait_for_all());
}

}  // namespace

TEST_CASE("graphs hold all-reduces, whatever the library does to captures of calls that do not block") {
  for (const char* fault : {"", "nccl-capture-fails", "nccl-capture-misses", "nccl-capture-hangs"})
    for (const bool deterministic : {false, true}) {
      INFO(fault << ", deterministic " << deterministic);
      const NcclWorld world = {
          .size = 2, .deterministic = deterministic, .streams = "random", .fault = fault, .is_captured = true};
      CHECK(ends(world, kOptions, sum_in_graph) == "");
    }
}

TEST_CASE("a capture fails where the library takes no captures and the configuration insists") {
  for (const char* fault : {"nccl-capture-fails", "nccl-capture-misses"}) {
    INFO(fault);
    NcclWorld world = {.size = 2, .fault = fault, .blocking = NcclBlocking::no, .is_captured = true};
    CHECK(ends(world, kOptions, sum_in_graph) != "");
    world.blocking = NcclBlocking::yes;
    CHECK(ends(world, kOptions, sum_in_graph) == "");
  }
}

TEST_CASE("a call that blocks ends at its deadline") {
  const WorldOptions options = {.timeout_ms = 200};
  const NcclWorld world = {.size = 2, .blocking = NcclBlocking::yes};
  RankProcesses ranks(world.size, options, parts_of_rank_0_alone(world, options), [](RankContext&) {});
  CHECK(ranks.wait(1).code == 0);
  const RankResult alone = ranks.wait(0);
  CHECK(alone.code == int(ExitCode::hang));
  CHECK_THAT(alone.text, Contains("ncclCommInitRankConfig did not return within"));
}

TEST_CASE("a call that blocks ends within 2 s when the run is aborted, and its rank does not say it failed") {
  const NcclWorld world = {.size = 2, .blocking = NcclBlocking::yes};
  const auto abort_in_init = [&] {
    const RankParts parts = parts_of_rank_0_alone(world, kOptions, [](Board& board) {
      wait_until_reached(board->nccl_id_ready, 1, kPatient, "rank 0 on its way into the call");
    });
    RankProcesses ranks(world.size, kOptions, parts, [](RankContext&) {});
    CHECK(ranks.wait(1).code == 0);
    const int64_t begin = monotonic_ns();
    ranks.board()->abort_word.store(kAbortByUser);
    const RankResult aborted = ranks.wait(0);
    INFO(aborted.text);
    CHECK(aborted.code == int(ExitCode::rendezvous));
    CHECK(ranks.board()->first_failure.load() == 0);
    return ms_between(begin, monotonic_ns());
  };
  CHECK(best_ms(kSoonMs, abort_in_init) < kSoonMs);
}
