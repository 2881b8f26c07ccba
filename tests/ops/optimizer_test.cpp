#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "tests/ops/harness.h"

namespace ddp::test {
namespace {

const LearningRates kRates = {.first_applied = 1, .rates = {2e-3f, 4e-3f}};
constexpr double kBeta1 = 0.9f, kBeta2 = 0.95f;

struct Finalized {
  StepScalars scalars;
  StepMetrics metrics;
};

constexpr double kFull = 48;  // targets of a full global batch

struct Step {
  double loss_sum = 12.5, counted = kFull, void_votes = 0;
  std::vector<double> statistics = {};
};

Finalized finalize(StepScalars scalars, const std::vector<double>& partials, double clip_norm, const Step& step = {}) {
  const std::vector<double> sums = {step.loss_sum, step.counted, 1.0, 2.0, step.void_votes};
  Finalized out{scalars, {}};
  Run run;
  const auto chunks = int64_t(partials.size());
  step_finalize(
      run.exec(),
      {.scalars = lend_to_device(&out.scalars),
       .metrics = lend_to_device(&out.metrics),
       .partials = view(partials, {chunks}),
       .sums = view(sums, {kFirstMark}),
       .statistics = step.statistics.empty() ? TensorView() : view(step.statistics, {int64_t(step.statistics.size())}),
       .num_ranks = 0,
       .rates = lend_to_device(&kRates),
       .rule = {.clip_norm = clip_norm, .full_targets = kFull}});
  run.finish();
  return out;
}

const StepScalars kSecondStep = {
    .state = {.attempted_step = 5, .applied_steps = 1}, .lr = 0, .grad_scale = 0, .update = Update(7)};

TEST_CASE("step_finalize: norm, clip, learning rate and counts of a step") {
  const auto [s, metrics] = finalize(kSecondStep, {9.0, 0.0, 16.0}, 1.0);
  CHECK(metrics.grad_norm == 5.0);
  CHECK(s.grad_scale == Approx(0.2).epsilon(1e-6));
  CHECK(s.update == kApplied);
  CHECK(s.lr == 2e-3f);
  CHECK(s.state == StepState{.attempted_step = 6, .applied_steps = 2, .growth_count = 1});
  CHECK(metrics.loss_sum == 12.5);
  CHECK(metrics.stop_votes == 1.0);
  CHECK(metrics.checkpoint_votes == 2.0);
  CHECK(metrics.lr == 2e-3f);
  CHECK(metrics.step() == 5);
  CHECK(metrics.next == s.state);
  CHECK(metrics.bad_chunk == -1);
  CHECK(metrics.update == kApplied);
  CHECK(metrics.bad_statistic == -1);
  CHECK(metrics.loss() == 12.5 / kFull);
}

TEST_CASE("step_finalize: no clipping below the limit, nor where the limit is 0") {
  CHECK(finalize(kSecondStep, {9.0, 16.0}, 5.0).scalars.grad_scale == 1.0f);
  CHECK(finalize(kSecondStep, {9.0, 16.0}, 0.0).scalars.grad_scale == 1.0f);
  CHECK(finalize(kSecondStep, {0.0, 0.0}, 1.0).scalars.grad_scale == 1.0f);
}

TEST_CASE("step_finalize: a gradient that is not finite skips the update and counts only the attempt") {
  for (const double bad : {std::numeric_limits<double>::infinity(), std::nan("")}) {
    const auto [s, metrics] = finalize(kSecondStep, {9.0, bad, 1.0, bad}, 1.0);
    CHECK(s.update == kNotFinite);
    CHECK(metrics.bad_chunk == 1);
    CHECK(metrics.update == kNotFinite);
    CHECK(s.state == StepState{.attempted_step = 6, .applied_steps = 1, .floor_skips = 1});
    CHECK_FALSE(std::isfinite(metrics.grad_norm));
  }
}

TEST_CASE("step_finalize: where fewer targets count, norm and update are those of the mean over them") {
  // The gradients carry 1 / 48; a third of the targets counts.
  const auto [s, metrics] = finalize(kSecondStep, {9.0, 16.0}, 0.0, {.loss_sum = 8.0, .counted = kFull / 3});
  CHECK(metrics.grad_norm == 15.0);
  CHECK(s.grad_scale == 3.0f);
  CHECK(metrics.loss() == 0.5);
  CHECK(metrics.counted_targets == 16.0);
  CHECK(finalize(kSecondStep, {9.0, 16.0}, 1.5, {.counted = kFull / 3}).scalars.grad_scale ==
        Approx(0.3).epsilon(1e-6));
  CHECK(finalize(kSecondStep, {9.0, 16.0}, 15.0, {.counted = kFull / 3}).scalars.grad_scale == 3.0f);
}

TEST_CASE("step_finalize: a step in which nothing counts changes nothing but the number of attempts") {
  StepScalars scalars = kSecondStep;
  scalars.state.loss_scale = 4.0f;
  scalars.state.growth_count = 3;
  scalars.state.floor_skips = 2;
  for (const double square : {0.0, std::nan("")}) {
    const auto [s, metrics] = finalize(scalars, {square, 0.0}, 1.0, {.loss_sum = 0.0, .counted = 0.0});
    CHECK(s.update == kNothingCounted);
    CHECK(s.skips());
    StepState want = scalars.state;
    ++want.attempted_step;
    CHECK(s.state == want);
    CHECK(metrics.next == want);
    CHECK(metrics.update == kNothingCounted);
    CHECK(std::isnan(metrics.loss()));
  }
}

TEST_CASE(
    "step_finalize: a step that one rank makes void changes nothing but the number of attempts, whatever it sums") {
  for (const double loss : {12.5, std::nan("")}) {
    const auto [s, metrics] = finalize(kSecondStep, {9.0}, 1.0, {.loss_sum = loss, .void_votes = 1});
    CHECK(s.update == kVoid);
    CHECK(s.skips());
    StepState want = kSecondStep.state;
    ++want.attempted_step;
    CHECK(s.state == want);
    CHECK(metrics.next == want);
    CHECK(metrics.update == kVoid);
  }
}

TEST_CASE("step_finalize: a statistic that is not finite skips the update and is found, among many too") {
  for (const int64_t n : {1, 7, 60'000})
    for (const double bad : {std::numeric_limits<double>::infinity(), std::nan("")}) {
      std::vector<double> statistics(size_t(n), 1.0);
      CHECK(finalize(kSecondStep, {9.0}, 1.0, {.statistics = statistics}).metrics.bad_statistic == -1);
      statistics[size_t(n - 1)] = bad;
      statistics[size_t(n / 2)] = bad;
      const auto [s, metrics] = finalize(kSecondStep, {9.0}, 1.0, {.statistics = statistics});
      CHECK(s.update == kNotFinite);
      CHECK(s.state.applied_steps == 1);
      CHECK(metrics.bad_statistic == n / 2);
      CHECK(metrics.bad_chunk == -1);
    }
}

TEST_CASE("update_state: moves towards the mean of the observations, and not on a skipped step") {
  for (const int64_t n : {1, 7, 33, 1000}) {
    const Floats before = randoms(3, n);
    const Floats observed = randoms(4, n);
    const std::vector<double> statistics(observed.begin(), observed.end());
    for (const Update update : {kApplied, kNotFinite, kNothingCounted, kVoid}) {
      StepScalars scalars;
      scalars.update = update;
      lend_to_device(&scalars);
      const Outputs got = in_every_setting([&](Run& run) {
        update_state(run.exec(), {.state = run.output(before, {n}),
                                  .statistics = view(statistics, {n}),
                                  .scalars = &scalars,
                                  .momentum = 0.1,
                                  .num_micro_batches = 6});
      });
      if (update != kApplied) {
        CHECK(got[0] == before);
        continue;
      }
      Vec want;
      for (int64_t i = 0; i < n; ++i) want.push_back(0.9 * before[size_t(i)] + 0.1 * (statistics[size_t(i)] / 6));
      check_close(got[0], want, 1e-7, 0.0);
    }
  }
}

TEST_CASE("step_finalize: a loss that is not finite skips the update, though every gradient is") {
  for (const double bad : {std::numeric_limits<double>::infinity(), std::nan("")}) {
    const auto [s, metrics] = finalize(kSecondStep, {9.0, 16.0}, 1.0, {.loss_sum = bad});
    CHECK(s.update == kNotFinite);
    CHECK(s.state.applied_steps == 1);
    CHECK(metrics.update == kNotFinite);
    CHECK(metrics.bad_chunk == -1);
    CHECK(metrics.bad_rank == -1);
    CHECK(metrics.grad_norm == 5.0);
  }
}

TEST_CASE("step_finalize: the rate is that of the updates applied so far, of the two that the host sent") {
  StepScalars scalars = kSecondStep;
  scalars.state.applied_steps = 2;
  CHECK(finalize(scalars, {9.0}, 0.0).scalars.lr == 4e-3f);
}

struct Corrected {
  std::vector<double> powers;
  AdamWCorrection correction;
};

// The second update's.
Corrected correct(const StepScalars& scalars) {
  Corrected out{{kBeta1, kBeta2}, {}};
  Run run;
  adamw_correct(run.exec(), {.powers = view(out.powers, {2}),
                             .correction = lend_to_device(&out.correction),
                             .scalars = lend_to_device(&scalars),
                             .beta1 = kBeta1,
                             .beta2 = kBeta2});
  run.finish();
  return out;
}

TEST_CASE("adamw_correct: the powers are running products, which correct the moments' bias") {
  const auto [powers, correction] = correct(finalize(kSecondStep, {4.0}, 1.0).scalars);
  CHECK(powers == std::vector{kBeta1 * kBeta1, kBeta2 * kBeta2});
  CHECK(correction.step_size == Approx(2e-3 / (1 - kBeta1 * kBeta1)).epsilon(1e-6));
  CHECK(correction.rsqrt_bias2 == Approx(1 / std::sqrt(1 - kBeta2 * kBeta2)).epsilon(1e-6));
}

TEST_CASE("adamw_correct: a skipped step leaves the powers") {
  const Corrected got = correct(finalize(kSecondStep, {std::nan("")}, 1.0).scalars);
  CHECK(got.powers == std::vector{kBeta1, kBeta2});
  CHECK(got.correction.step_size == 0.0f);
}

// Chunks of odd lengths somewhere in a larger flat buffer; decay differs by chunk.
const std::vector<int64_t> kChunks = {64, 65, 72, 105, 1105, 17489, 17490, 17500};
const Floats kDecay = {1, 0, 1, 0, 1, 0, 1};

struct State {
  Floats p, m, v, g;
};

State random_state(int64_t n) {
  State s{randoms(1, n), randoms(2, n, 0.1f), randoms(3, n, 0.1f), randoms(4, n)};
  for (float& x : s.v) x = std::abs(x);
  s.m[0] = s.v[0] = s.g[0] = 0.0f;  // eps decides
  return s;
}

Outputs update(const State& s, const StepScalars& scalars) {
  const int64_t n = int64_t(s.p.size()), chunks = int64_t(kDecay.size());
  const AdamWCorrection correction = correct(scalars).correction;
  return in_every_setting([&](Run& run) {
    adamw(run.exec(), {.p = run.output(s.p, {n}),
                       .m = run.output(s.m, {n}),
                       .v = run.output(s.v, {n}),
                       .g = view(s.g, {n}),
                       .chunk_begin = view(kChunks, {chunks + 1}),
                       .chunk_decay = view(kDecay, {chunks}),
                       .scalars = lend_to_device(&scalars),
                       .correction = lend_to_device(&correction),
                       .beta1 = float(kBeta1),
                       .beta2 = float(kBeta2),
                       .eps = 1e-8f,
                       .weight_decay = 0.1f});
  });
}

TEST_CASE("adamw: moments and parameters, with clipping, bias correction and decay by chunk") {
  const int64_t n = kChunks.back() - kChunks.front();
  const State s = random_state(n);
  const StepScalars scalars = finalize(kSecondStep, {4.0}, 1.0).scalars;
  const Outputs got = update(s, scalars);
  Vec p, m, v;
  for (size_t chunk = 0; chunk + 1 < kChunks.size(); ++chunk) {
    for (int64_t at = kChunks[chunk] - kChunks[0]; at < kChunks[chunk + 1] - kChunks[0]; ++at) {
      const auto i = size_t(at);
      const double g = double(s.g[i]) * 0.5;
      m.push_back(kBeta1 * s.m[i] + (1 - kBeta1) * g);
      v.push_back(kBeta2 * s.v[i] + (1 - kBeta2) * g * g);
      const double m_hat = m.back() / (1 - kBeta1 * kBeta1), v_hat = v.back() / (1 - kBeta2 * kBeta2);
      p.push_back(s.p[i] - 2e-3 * (0.1 * kDecay[chunk] * s.p[i] + m_hat / (std::sqrt(v_hat) + 1e-8)));
    }
  }
  check_close(got[0], p, 2e-6, 1e-2);
  check_close(got[1], m, 2e-6, 0.1);
  check_close(got[2], v, 2e-6, 0.1);
}

TEST_CASE("adamw: a skipped step touches nothing") {
  const State s = random_state(kChunks.back() - kChunks.front());
  const Outputs got = update(s, finalize(kSecondStep, {std::nan("")}, 1.0).scalars);
  CHECK(got[0] == s.p);
  CHECK(got[1] == s.m);
  CHECK(got[2] == s.v);
}

TEST_CASE("adamw: a gradient in 16 bits counts as its values, and the rounded copy is the master's, bit for bit") {
  for (const DType type : storage_types()) {
    if (type == DType::f32) continue;
    CAPTURE(dtype_name(type));
    State s = random_state(kChunks.back() - kChunks.front());
    const Stored g(type, s.g);
    s.g = g.values();
    const StepScalars scalars = finalize(kSecondStep, {4.0}, 1.0).scalars;
    const Outputs want = update(s, scalars);
    const Stored want_rounded(type, want[0]);
    const AdamWCorrection correction = correct(scalars).correction;
    const int64_t n = int64_t(s.p.size()), chunks = int64_t(kDecay.size());
    for (const bool narrow_grad : {false, true}) {
      const Outputs got = in_every_setting([&](Run& run) {
        adamw(run.exec(), {.p = run.output(s.p, {n}),
                           .m = run.output(s.m, {n}),
                           .v = run.output(s.v, {n}),
                           .g = narrow_grad ? g.view({n}) : view(s.g, {n}),
                           .chunk_begin = view(kChunks, {chunks + 1}),
                           .chunk_decay = view(kDecay, {chunks}),
                           .rounded = run.output({n}, type),
                           .scalars = lend_to_device(&scalars),
                           .correction = lend_to_device(&correction),
                           .beta1 = float(kBeta1),
                           .beta2 = float(kBeta2),
                           .eps = 1e-8f,
                           .weight_decay = 0.1f});
      });
      for (const size_t output : {0, 1, 2}) CHECK(got[output] == want[output]);
      CHECK(got.values(3, type) == want_rounded.values());
    }
  }
}

}  // namespace
}  // namespace ddp::test
