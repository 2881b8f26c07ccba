#include <catch2/catch.hpp>
#include <cmath>

#include "kernels/ops.h"
#include "tests/ops/harness.h"

namespace ddp::test {
namespace {

struct Targets {
  Floats loss;
  std::vector<int32_t> targets, ranks;
  std::vector<double> want = std::vector<double>(kNumEvalSums, 0.0);
};

// Every third target is ignored: its loss is 0, its rank anything.
Targets targets_of(int64_t m) {
  Targets t{.loss = randoms(1, m), .targets = {}, .ranks = {}};
  for (int64_t i = 0; i < m; ++i) {
    const bool ignored = i % 3 == 1;
    t.targets.push_back(ignored ? -1 - int32_t(i) : int32_t(i));
    t.ranks.push_back(int32_t(i * 7919 % 8));
    if (ignored) {
      t.loss[size_t(i)] = 0.0f;
      continue;
    }
    t.want[kLossSum] += double(t.loss[size_t(i)]);
    t.want[kCountedTargets] += 1;
    t.want[kTop1] += t.ranks.back() < 1;
    t.want[kTop5] += t.ranks.back() < 5;
  }
  return t;
}

TEST_CASE("sum_losses: sums and counts of the targets that are not ignored, written or accumulated") {
  for (const int64_t m : {1, 2, 7, 33, 1000, 50000})
    for (const int num_sums : {int(kNumTrainSums), int(kNumEvalSums)}) {
      CAPTURE(m, num_sums);
      const Targets t = targets_of(m);
      const auto sums = [&](Run& run, std::vector<double> before, bool accumulate) {
        before.resize(size_t(num_sums), before[0]);
        sum_losses(run.exec(), {.sums = run.output(before, {num_sums}),
                                .loss = view(t.loss, {m}),
                                .targets = view(t.targets, {m}),
                                .ranks = num_sums == kNumEvalSums ? view(t.ranks, {m}) : TensorView(),
                                .accumulate = accumulate});
      };
      const Outputs got = in_every_setting([&](Run& run) {
        sums(run, {NAN}, false);
        sums(run, {2.5}, true);
      });
      const std::vector<double> written = got.as<double>(0), added = got.as<double>(1);
      CHECK(written[kLossSum] == Approx(t.want[kLossSum]).epsilon(1e-12).margin(1e-12));
      for (int s = kCountedTargets; s < num_sums; ++s) CHECK(written[size_t(s)] == t.want[size_t(s)]);
      for (int s = 0; s < num_sums; ++s) CHECK(added[size_t(s)] == written[size_t(s)] + 2.5);
    }
}

}  // namespace
}  // namespace ddp::test
