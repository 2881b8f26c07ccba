// The reducer over every division of a global batch into ranks and lanes, against plain loops, bit for bit. "Backward"
// writes known values: micro-batch m of the global batch has gradient value_of(m, element) and loss value_of(m, -1).
#include <catch2/catch.hpp>

#include <atomic>
#include <cstring>

#include "kernels/op_table.h"
#include "runtime/device/cpu_device.h"
#include "runtime/reduce/grad_reducer.h"
#include "tests/comm/rank_harness.h"
#include "tests/comm/values.h"

using namespace ddp;
using namespace ddp::test;
using Catch::Matchers::Contains;

namespace {

constexpr int kGlobalMicroSteps = 8;
constexpr int64_t kBucketBytes = 8192;
constexpr int64_t kStatistics = 5;
constexpr int kMicrosPerStep = 1000;  // keeps the values of different steps apart

ParamLayout make_layout() {
  ParamLayout layout;
  for (const int64_t n : {1, 7, 33, 1000, 40000, 100, 2000, 1, 5}) {
    const std::string name = "layer" + std::to_string(layout.params().size()) + ".weight";
    layout.add(name, {n}, true);
  }
  return layout;
}

// The reducer's ops as plain loops.
OpTable plain_table() {
  OpTable table{};
  table.storage = {DType::f32};
  table.entry<FindNonFinite>() = [](Stream& stream, const FindNonFinite& a) {
    cpu_enqueue(stream, [a](ThreadPool&) { *a.mark.as<double>() = 0.0; });
  };
  table.entry<AddInto>() = [](Stream& stream, const AddInto& a) {
    cpu_enqueue(stream, [a](ThreadPool&) {
      const auto add = [&]<class T>(T) {
        for (int64_t i = 0; i < a.x.numel(); ++i) a.y.as<T>()[i] += a.x.as<T>()[i];
      };
      a.x.dtype == DType::f32 ? add(float{}) : add(double{});
    });
  };
  table.entry<SumSquares>() = [](Stream& stream, const SumSquares& a) {
    cpu_enqueue(stream, [a](ThreadPool&) {
      const int64_t* begin = a.chunk_begin.as<int64_t>();
      for (int64_t s = 0; s < a.partials.numel(); ++s) {
        double sum = 0;
        for (int64_t i = begin[s] - begin[0]; i < begin[s + 1] - begin[0]; ++i)
          sum += double(a.x.as<float>()[i]) * double(a.x.as<float>()[i]);
        a.partials.as<double>()[s] = sum;
      }
    });
  };
  return table;
}

// One parameter's part of backward for a micro-batch.
void write_gradient(Stream& compute, const GradReducer::Target& target, const Param& p, int micro) {
  float* to = target.grads.as<float>() + p.offset;
  cpu_enqueue(compute, [to, begin = p.offset, n = p.numel, micro, accumulate = target.accumulate](ThreadPool&) {
    for (int64_t i = 0; i < n; ++i) to[i] = (accumulate ? to[i] : 0.0f) + value_of<float>(micro, begin + i);
  });
}

// Of the sums and statistics as one vector, element i of a micro-batch is value_of(micro, -1 - i).
void write_sums(Stream& compute, const GradReducer::Target& target, int micro) {
  cpu_enqueue(compute, [target, micro](ThreadPool&) {
    const auto write = [&](const TensorView& to, int64_t first) {
      for (int64_t i = 0; i < to.numel(); ++i) {
        double& x = to.as<double>()[i];
        x = (target.accumulate ? x : 0.0) + value_of<double>(micro, -1 - first - i);
      }
    };
    write(target.sums, 0);
    write(target.statistics, kNumTrainSums);
  });
}

struct StepResult {
  std::vector<float> grads;
  std::vector<double> partials, sums, statistics;  // sums: the head
};

StepResult expected_step(const ParamLayout& layout, int step, int lanes) {
  const int per_lane = kGlobalMicroSteps / lanes;
  const auto tree = [&]<class T>(T, int64_t i) {
    return reference_tree(0, lanes, [&](int lane) {
      T sum = 0;
      for (int m = lane * per_lane; m < (lane + 1) * per_lane; ++m) sum += value_of<T>(step * kMicrosPerStep + m, i);
      return sum;
    });
  };
  StepResult want;
  want.grads.assign(size_t(layout.flat_elements()), 0.0f);
  for (const Param& p : layout.params())
    for (int64_t i = p.offset; i < p.offset + p.numel; ++i) want.grads[size_t(i)] = tree(float{}, i);
  for (int64_t s = 0; s < layout.num_chunks(); ++s) {
    double sum = 0;
    for (int64_t i = layout.chunk_begin()[size_t(s)]; i < layout.chunk_begin()[size_t(s) + 1]; ++i)
      sum += double(want.grads[size_t(i)]) * double(want.grads[size_t(i)]);
    want.partials.push_back(sum);
  }
  for (int64_t i = 0; i < kNumTrainSums; ++i) want.sums.push_back(tree(double{}, -1 - i));
  want.sums.resize(kFirstMark, 0);
  for (int64_t i = 0; i < kStatistics; ++i) want.statistics.push_back(tree(double{}, -1 - kNumTrainSums - i));
  return want;
}

template <class T>
void expect_equal(const T* got, const std::vector<T>& want, const char* what) {
  for (size_t i = 0; i < want.size(); ++i) expect(got[i] == want[i], "{}[{}] is {}, not {}", what, i, got[i], want[i]);
}

// One rank of a run: a few steps, each compared with the reference.
void run_steps(RankContext& c, const OpTable& table, int lanes) {
  const ParamLayout layout = make_layout();
  const int micro_steps = kGlobalMicroSteps / c.comm.size();
  std::vector<int> launched;
  GradReducer reducer(c.device, table, c.comm, layout,
                      {.bucket_bytes = kBucketBytes,
                       .num_micro_steps = micro_steps,
                       .lanes_per_rank = std::max(1, lanes / c.comm.size()),
                       .num_statistics = kStatistics,
                       .on_launch = [&](int bucket) { launched.push_back(bucket); },
                       .wait = c.wait});
  Stream compute(c.device, StreamRole::compute);
  const int64_t allocations = c.device.num_allocations();
  for (int step = 0; step < 3; ++step) {
    const LearningRates rates{.first_applied = uint32_t(step), .rates = {0.25f * float(step), 1e-3f}};
    reducer.begin_step({.stop = true, .checkpoint = c.comm.rank() == 0 && step == 1}, rates, compute);
    for (int i = 0; i < micro_steps; ++i) {
      const int micro = step * kMicrosPerStep + c.comm.rank() * micro_steps + i;
      if (step == 1 && c.comm.rank() == 0 && i == micro_steps - 1) reducer.make_void(compute);
      const GradReducer::Target target = reducer.begin_micro_step(i);
      write_sums(compute, target, micro);
      for (int p = 0; p < int(layout.params().size()); ++p) {
        write_gradient(compute, target, layout[{p}], micro);
        reducer.on_grad_ready({p}, compute);
      }
      reducer.end_micro_step(compute);
    }
    reducer.finish(compute);

    c.done.record(compute);
    c.done.synchronize(c.wait);
    StepResult want = expected_step(layout, step, lanes);
    want.sums[kStopVotes] = c.comm.size();
    want.sums[kCheckpointVotes] = want.sums[kVoidVotes] = step == 1;
    expect_equal(reducer.gradients().as<float>(), want.grads, "gradient");
    expect_equal(reducer.sums().as<double>(), want.sums, "sum");
    expect_equal(reducer.statistics().as<double>(), want.statistics, "statistic");
    expect(*reducer.rates() == rates, "step {} has other learning rates", step);
    expect_equal(reducer.partials().as<double>(), want.partials, "partial");
    expect(c.device.num_allocations() == allocations, "step {} allocated", step);
    for (size_t b = 0; b < launched.size(); ++b)
      expect(launched[b] == int(b), "bucket {} launched as number {}", launched[b], b);
    expect(launched.size() == reducer.buckets().size() && launched.size() > 3, "{} buckets launched", launched.size());
    launched.clear();
  }
}

WorldOptions world_options() {
  return {
      .symmetric_bytes =
          grad_reducer_bytes(make_layout(), {.bucket_bytes = kBucketBytes, .num_statistics = kStatistics}).symmetric};
}

// For the checks of a single rank: no ranks, no ops.
struct Solo {
  ParamLayout layout = make_layout();
  OpTable table = plain_table();
  std::unique_ptr<Device> device = make_cpu_device({.num_threads = 1, .spin_pauses = 0});
  std::unique_ptr<Communicator> comm = make_solo_comm(*device);
  std::vector<int> launched;
  GradReducer reducer{*device, table, *comm, layout, {.bucket_bytes = kBucketBytes, .on_launch = [this](int bucket) {
                                                        launched.push_back(bucket);
                                                      }}};
  Stream compute{*device, StreamRole::compute};
  const int num_params = int(layout.params().size());
};

}  // namespace

TEST_CASE("every division of a global batch into ranks and lanes gives the bits of the reference tree") {
  const OpTable table = plain_table();
  for (const int lanes : {1, 2, 4, 8})
    for (const int ranks : {1, 2, 4}) {
      if (ranks > lanes) continue;
      const World world{ranks == 1 ? RankKind::solo : RankKind::threads, ranks};
      INFO(world.name() << ", " << lanes << " lanes");
      CHECK(failures(run_world(world, world_options(), [&](RankContext& c) { run_steps(c, table, lanes); })) == "");
    }
}

TEST_CASE("ranks that are processes reduce alike") {
  const OpTable table = plain_table();
  CHECK(failures(run_world({RankKind::processes, 2}, world_options(),
                           [&](RankContext& c) { run_steps(c, table, 4); })) == "");
}

TEST_CASE("buckets launch in index order whatever the order of announcements") {
  Solo s;
  s.reducer.begin_micro_step(0);
  for (int p = s.num_params - 1; p > 0; --p) s.reducer.on_grad_ready({p}, s.compute);
  CHECK(s.launched.empty());  // all wait for bucket 0
  s.reducer.on_grad_ready({0}, s.compute);
  REQUIRE(s.launched.size() == s.reducer.buckets().size());
  for (size_t b = 0; b < s.launched.size(); ++b) CHECK(s.launched[b] == int(b));
  s.reducer.finish(s.compute);
}

TEST_CASE("a parameter announced twice is named") {
  Solo s;
  s.reducer.begin_micro_step(0);
  s.reducer.on_grad_ready({3}, s.compute);
  CHECK_THROWS_WITH(s.reducer.on_grad_ready({3}, s.compute), Contains("layer3.weight announced twice"));
}

TEST_CASE("a parameter never announced is named") {
  Solo s;
  s.reducer.begin_micro_step(0);
  for (int p = 0; p < s.num_params; ++p)
    if (p != 4) s.reducer.on_grad_ready({p}, s.compute);
  s.reducer.end_micro_step(s.compute);
  CHECK_THROWS_WITH(s.reducer.finish(s.compute), Contains("layer4.weight never announced"));
}

TEST_CASE("micro-steps out of order are refused") {
  Solo s;
  CHECK_THROWS_WITH(s.reducer.finish(s.compute), Contains("finish after 0 of 1"));
  CHECK_THROWS_AS(s.reducer.begin_micro_step(1), Bug);
  s.reducer.begin_micro_step(0);
  CHECK_THROWS_AS(s.reducer.begin_micro_step(0), Bug);
}

TEST_CASE("micro-steps that a graph can stand for are those with the same targets and the same combining") {
  const auto alike = [](int num_micro_steps, int lanes) {
    const ParamLayout layout = make_layout();
    const auto device = make_meta_device();
    const auto comm = make_solo_comm(*device);
    const GradReducer reducer(*device, meta_op_table(), *comm, layout,
                              {.num_micro_steps = num_micro_steps, .lanes_per_rank = lanes});
    std::vector<int> first;
    for (int i = 0; i < num_micro_steps; ++i) first.push_back(reducer.first_alike(i));
    return first;
  };
  CHECK(alike(1, 1) == std::vector{0});
  CHECK(alike(2, 1) == std::vector{0, 1});
  CHECK(alike(5, 1) == std::vector{0, 1, 1, 1, 4});
  CHECK(alike(4, 4) == std::vector{0, 1, 2, 3});
  CHECK(alike(8, 2) == std::vector{0, 1, 1, 3, 4, 5, 5, 7});
}

TEST_CASE("micro-steps that graphs do are counted, and the step goes on after them") {
  const ParamLayout layout = make_layout();
  const auto device = make_meta_device();
  const auto comm = make_solo_comm(*device);
  GradReducer reducer(*device, meta_op_table(), *comm, layout, {.num_micro_steps = 3});
  Stream compute(*device, StreamRole::compute);
  for (int step = 0; step < 2; ++step) {
    reducer.begin_step({}, {}, compute);
    CHECK_THROWS_AS(reducer.skip_micro_step(1), Bug);
    for (int i = 0; i < 3; ++i) reducer.skip_micro_step(i);
  }
  reducer.begin_step({}, {}, compute);
  reducer.skip_micro_step(0);
  CHECK_THROWS_AS(reducer.begin_step({}, {}, compute), Bug);
  CHECK_NOTHROW(reducer.begin_micro_step(1));
}

TEST_CASE("the dry run takes the same steps without touching memory") {
  const ParamLayout layout = make_layout();
  const auto device = make_meta_device();
  const auto comm = make_solo_comm(*device);
  GradReducer reducer(*device, meta_op_table(), *comm, layout, {.num_micro_steps = 4, .lanes_per_rank = 4});
  Stream compute(*device, StreamRole::compute);
  for (int i = 0; i < 4; ++i) {
    reducer.begin_micro_step(i);
    for (int p = 0; p < int(layout.params().size()); ++p) reducer.on_grad_ready({p}, compute);
    reducer.end_micro_step(compute);
  }
  CHECK_NOTHROW(reducer.finish(compute));
}

TEST_CASE("the plan's bytes are those the reducer takes") {
  const ParamLayout layout = make_layout();
  const OpTable table = plain_table();
  for (const int lanes : {1, 2, 8}) {
    const GradReducerOptions options{.bucket_bytes = kBucketBytes, .num_micro_steps = 8, .lanes_per_rank = lanes};
    const GradReducerBytes bytes = grad_reducer_bytes(layout, options);
    const auto device = make_cpu_device({.num_threads = 1, .spin_pauses = 0});
    const auto comm = make_solo_comm(*device);  // its symmetric memory is the device's
    const GradReducer reducer(*device, table, *comm, layout, options);
    CHECK(device->memory_info().in_use_bytes == bytes.device + bytes.symmetric);
  }
}
