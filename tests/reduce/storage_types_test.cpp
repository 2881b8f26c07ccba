// Gradients that are all-reduced in 16 bits: where they are rounded, and whom an overflow is blamed on.
#include <catch2/catch.hpp>

#include "kernels/op_table.h"
#include "runtime/device/cpu_device.h"
#include "runtime/reduce/grad_reducer.h"
#include "tests/comm/rank_harness.h"
#include "tests/comm/values.h"

using namespace ddp;
using namespace ddp::test;

namespace {

ParamLayout make_layout() {
  ParamLayout layout;
  for (const int64_t n : {7, 1000, 40000, 33}) layout.add("p" + std::to_string(n), {n}, true);
  return layout;
}

// Backward of one micro-batch: "=" in the gradients' type or "+=" in f32.
template <class S>
void write_gradient(Stream& compute, const GradReducer::Target& target, const Param& p, int micro, float factor) {
  cpu_enqueue(compute, [target, first = p.offset, last = p.offset + p.numel, micro, factor](ThreadPool&) {
    for (int64_t i = first; i < last; ++i) {
      const float x = factor * value_of<float>(micro, i);
      if (target.grads.dtype == DType::f32) {
        float& sum = target.grads.as<float>()[i];
        sum = target.accumulate ? sum + x : x;
      } else {
        target.grads.as<S>()[i] = from_f32<S>(x);
      }
    }
  });
}

// One rank's step of some micro-steps; the values of rank `loud` are too large for f16. Leaves the step's results on
// the device.
template <class S>
void run_step(RankContext& c, GradReducer& reducer, const ParamLayout& layout, int micro_steps, int loud,
              Stream& compute) {
  reducer.begin_step({}, {}, compute);
  for (int i = 0; i < micro_steps; ++i) {
    const GradReducer::Target target = reducer.begin_micro_step(i);
    expect(target.grads.dtype == (micro_steps > 1 ? DType::f32 : kDTypeOf<S>), "gradients are {}",
           dtype_name(target.grads.dtype));
    cpu_enqueue(compute, [sums = target.sums](ThreadPool&) { std::fill_n(sums.as<double>(), kNumTrainSums, 1.0); });
    for (int p = 0; p < int(layout.params().size()); ++p) {
      const bool overflows = c.comm.rank() == loud && p == 2;
      write_gradient<S>(compute, target, layout[{p}], c.comm.rank() * micro_steps + i, overflows ? 1e5f : 1.0f);
      reducer.on_grad_ready({p}, compute);
    }
    reducer.end_micro_step(compute);
  }
  reducer.finish(compute);
  c.done.record(compute);
  c.done.synchronize(c.wait);
}

// body(context, reducer, layout, number of micro-steps, compute stream) as each rank: 2 and 3 ranks of 1 and 3
// micro-steps.
template <class S, class Body>
void on_ranks(Body body) {
  const ParamLayout layout = make_layout();
  for (const int ranks : {2, 3})
    for (const int micro_steps : {1, 3}) {
      GradReducerOptions options{.bucket_bytes = 8192, .num_micro_steps = micro_steps, .type = kDTypeOf<S>};
      const WorldOptions world{.symmetric_bytes = grad_reducer_bytes(layout, options).symmetric};
      INFO(ranks << " ranks, " << micro_steps << " micro-steps");
      CHECK(failures(run_world({RankKind::threads, ranks}, world, [&](RankContext& c) {
              GradReducerOptions own = options;
              own.wait = c.wait;
              GradReducer reducer(c.device, cpu_op_table(), c.comm, layout, own);
              Stream compute(c.device, StreamRole::compute);
              body(c, reducer, layout, micro_steps, compute);
            })) == "");
    }
}

}  // namespace

TEMPLATE_TEST_CASE("micro-steps add in f32 and are rounded once for the all-reduce", "", Half, BFloat16) {
  on_ranks<TestType>(
      [](RankContext& c, GradReducer& reducer, const ParamLayout& layout, int micro_steps, Stream& compute) {
        run_step<TestType>(c, reducer, layout, micro_steps, /*loud=*/-1, compute);
        const auto of_rank = [&](int rank, int64_t i) {
          float sum = 0.0f;
          for (int m = 0; m < micro_steps; ++m) sum += value_of<float>(rank * micro_steps + m, i);
          return from_f32<TestType>(sum);
        };
        for (const Param& p : layout.params())
          for (int64_t i = p.offset; i < p.offset + p.numel; ++i) {
            const auto want = reference_sum<TestType>(c.comm.size(), [&](int rank) { return of_rank(rank, i); });
            const TestType got = reducer.gradients().as<TestType>()[i];
            expect(got == want, "{}: element {} is {}, not {}", p.name, i - p.offset, to_f32(got), to_f32(want));
          }
      });
}

TEST_CASE("the rank whose gradient f16 cannot hold marks its first such chunk") {
  on_ranks<Half>([](RankContext& c, GradReducer& reducer, const ParamLayout& layout, int micro_steps, Stream& compute) {
    const int loud = c.comm.size() - 1;
    run_step<Half>(c, reducer, layout, micro_steps, loud, compute);
    const double* marks = reducer.sums().as<double>() + kFirstMark;
    for (int rank = 0; rank < c.comm.size(); ++rank) {
      const double want = rank == loud ? double(1 + layout[{2}].first_chunk) : 0.0;
      expect(marks[rank] == want, "rank {} is marked {}, not {}", rank, marks[rank], want);
    }
    run_step<Half>(c, reducer, layout, micro_steps, /*loud=*/-1, compute);
    for (int rank = 0; rank < c.comm.size(); ++rank) expect(marks[rank] == 0.0, "the mark of rank {} stays", rank);
  });
}
