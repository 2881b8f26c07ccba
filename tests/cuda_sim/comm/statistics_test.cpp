// The step's vector with the statistics of a large model: 60,000 f64, more than the deterministic sum's scratch memory
// holds at once.
#include <catch2/catch.hpp>

#include "kernels/op_table.h"
#include "runtime/reduce/grad_reducer.h"
#include "tests/comm/values.h"
#include "tests/cuda_sim/comm/nccl_ranks.h"

using namespace ddp;
using namespace ddp::test;

namespace {

constexpr int64_t kStatistics = 60'000;
constexpr int kLanes = 2;  // of a rank, a micro-step each

ParamLayout small_layout() {
  ParamLayout layout;
  layout.add("weight", {7}, /*decay=*/false);
  return layout;
}

const GradReducerOptions kOptions = {
    .num_micro_steps = kLanes, .lanes_per_rank = kLanes, .num_statistics = kStatistics};

void run_steps(RankContext& c) {
  const ParamLayout layout = small_layout();
  GradReducerOptions options = kOptions;
  options.wait = c.wait;
  GradReducer reducer(c.device, cuda_op_table(/*tf32=*/false), c.comm, layout, options);
  Stream compute(c.device, StreamRole::compute);
  HostBuffer<double> own(c.device, kLanes * kStatistics), sum(c.device, kStatistics);
  for (int step = 0; step < 2; ++step) {
    const auto value = [step](int lane, int64_t i) { return value_of<double>(step * 100 + lane, i); };
    reducer.begin_step({}, {}, compute);
    for (int lane = 0; lane < kLanes; ++lane) {
      const GradReducer::Target target = reducer.begin_micro_step(lane);
      double* values = own.data() + lane * kStatistics;
      for (int64_t i = 0; i < kStatistics; ++i) values[i] = value(c.comm.rank() * kLanes + lane, i);
      compute.copy(target.statistics.data, values, target.statistics.bytes());
      compute.zero(target.sums);
      compute.zero(target.grads);
      reducer.on_grad_ready({0}, compute);
      reducer.end_micro_step(compute);
    }
    reducer.finish(compute);
    compute.copy(sum.data(), reducer.statistics().data, sum.bytes());
    compute.synchronize(c.wait);
    for (int64_t i = 0; i < kStatistics; ++i) {
      const double want = reference_tree(0, c.comm.size() * kLanes, [&](int lane) { return value(lane, i); });
      expect(sum.data()[i] == want, "statistic {} is {}, not {}", i, sum.data()[i], want);
    }
  }
}

}  // namespace

TEST_CASE("the statistics of a large model are the tree over lanes and ranks, bit for bit, piece by piece") {
  const WorldOptions options = {.symmetric_bytes = grad_reducer_bytes(small_layout(), kOptions).symmetric};
  for (const int size : {2, 4}) {
    const NcclWorld world = {.size = size, .deterministic = true, .streams = "random", .seed = size};
    INFO(world.name());
    CHECK(failures(RankProcesses(size, options, parts_of(world, options), run_steps).wait_for_all()) == "");
  }
}
