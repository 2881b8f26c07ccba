#include <catch2/catch.hpp>
#include <cmath>

#include "kernels/ops.h"
#include "tests/ops/harness.h"

namespace ddp::test {
namespace {

struct Targets {
  Floats loss;
  std::vector<int32_t> targets, ranks;
  std::vector<double> want;  // (samples, kNumEvalSums)
};

// Every third target is ignored: its loss is 0, its rank anything.
Targets targets_of(int64_t samples, int64_t per_sample) {
  const int64_t m = samples * per_sample;
  Targets t{.loss = randoms(1, m),
            .targets = {},
            .ranks = {},
            .want = std::vector<double>(size_t(samples * kNumEvalSums), 0.0)};
  for (int64_t i = 0; i < m; ++i) {
    const bool ignored = i % 3 == 1;
    t.targets.push_back(ignored ? -1 - int32_t(i) : int32_t(i));
    t.ranks.push_back(int32_t(i * 7919 % 8));
    if (ignored) {
      t.loss[size_t(i)] = 0.0f;
      continue;
    }
    double* want = t.want.data() + i / per_sample * kNumEvalSums;
    want[kLossSum] += double(t.loss[size_t(i)]);
    want[kCountedTargets] += 1;
    want[kTop1] += t.ranks.back() < 1;
    want[kTop5] += t.ranks.back() < 5;
  }
  return t;
}

TEST_CASE("sum_losses: of each sample sums and counts of the targets that are not ignored, written or accumulated") {
  struct Size {
    int64_t samples, per_sample;
  };
  for (const auto [samples, per_sample] :
       {Size{1, 1}, {1, 2}, {1, 33}, {1, 1000}, {1, 50000}, {5, 1}, {300, 1}, {2, 7}, {3, 33}, {7, 1500}})
    for (const int num_sums : {int(kNumTrainSums), int(kNumEvalSums)}) {
      CAPTURE(samples, per_sample, num_sums);
      const int64_t m = samples * per_sample;
      const Targets t = targets_of(samples, per_sample);
      const auto sums = [&](Run& run, double before, bool accumulate) {
        sum_losses(run.exec(),
                   {.sums = run.output(std::vector<double>(size_t(samples * num_sums), before), {samples, num_sums}),
                    .loss = view(t.loss, {m}),
                    .targets = view(t.targets, {m}),
                    .ranks = num_sums == kNumEvalSums ? view(t.ranks, {m}) : TensorView(),
                    .accumulate = accumulate});
      };
      const Outputs got = in_every_setting([&](Run& run) {
        sums(run, NAN, false);
        sums(run, 2.5, true);
      });
      const std::vector<double> written = got.as<double>(0), added = got.as<double>(1);
      for (size_t i = 0; i < written.size(); ++i) {
        const size_t s = i % size_t(num_sums);
        const double want = t.want[i / size_t(num_sums) * kNumEvalSums + s];
        CAPTURE(i);
        CHECK(written[i] == (s == kLossSum ? Approx(want).epsilon(1e-12).margin(1e-12) : Approx(want).epsilon(0)));
        CHECK(added[i] == written[i] + 2.5);
      }
    }
}

TEST_CASE("sum_losses: the sums of a sample have the same bits whatever samples are beside it") {
  constexpr int64_t kSamples = 6, kPerSample = 37;
  const Targets t = targets_of(kSamples, kPerSample);
  const auto sums = [&](int64_t first, int64_t samples) {
    const int64_t m = samples * kPerSample;
    return in_every_setting([&](Run& run) {
             sum_losses(run.exec(), {.sums = run.output(std::vector<double>(size_t(samples * kNumEvalSums), NAN),
                                                        {samples, kNumEvalSums}),
                                     .loss = view(t.loss, {kSamples * kPerSample}).slice(first * kPerSample, m),
                                     .targets = view(t.targets, {kSamples * kPerSample}).slice(first * kPerSample, m),
                                     .ranks = view(t.ranks, {kSamples * kPerSample}).slice(first * kPerSample, m)});
           })
        .as<double>(0);
  };
  const std::vector<double> all = sums(0, kSamples);
  for (int64_t first = 0; first < kSamples; first += 2) {
    const std::vector<double> some = sums(first, 2);
    CHECK(std::equal(some.begin(), some.end(), all.begin() + first * kNumEvalSums));
  }
}

}  // namespace
}  // namespace ddp::test
