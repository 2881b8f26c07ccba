#include <catch2/catch.hpp>
#include <cmath>

#include "tests/ops/harness.h"

namespace ddp::test {
namespace {

constexpr float kRate = 0.25f, kGradScale = 0.5f, kWeightDecay = 0.125f;

// Chunks of odd lengths somewhere in a larger flat buffer; decay differs by chunk.
const std::vector<int64_t> kChunks = {64, 65, 72, 105, 1105, 17489, 17490, 17500};
const Floats kDecay = {1, 0, 1, 0, 1, 0, 1};
const int64_t kNumChunks = int64_t(kDecay.size()), kElements = kChunks.back() - kChunks.front();

struct Rule {
  float momentum;
  bool nesterov;
};
constexpr Rule kRules[] = {{0.0f, false}, {0.875f, false}, {0.875f, true}};

struct State {
  Floats p = randoms(1, kElements), m = randoms(2, kElements), g = randoms(3, kElements);
};

// One update. Outputs: p; m, where there is momentum; where `rounded` is not f32, the rounded copy.
Outputs update(const State& s, const Rule& rule, const StepScalars& scalars, const Stored& g,
               DType rounded = DType::f32) {
  return in_every_setting([&](Run& run) {
    Sgd a{.p = run.output(s.p, {kElements}),
          .g = g.view({kElements}),
          .chunk_begin = view(kChunks, {kNumChunks + 1}),
          .chunk_decay = view(kDecay, {kNumChunks}),
          .scalars = lend_to_device(&scalars),
          .momentum = rule.momentum,
          .weight_decay = kWeightDecay,
          .nesterov = rule.nesterov};
    if (rule.momentum != 0.0f) a.m = run.output(s.m, {kElements});
    if (rounded != DType::f32) a.rounded = run.output({kElements}, rounded);
    sgd(run.exec(), a);
  });
}

const StepScalars kScalars = {.state = {}, .lr = kRate, .grad_scale = kGradScale, .update = kApplied};

TEST_CASE("sgd: momentum, Nesterov's and coupled decay by chunk, of gradients of every type") {
  const State s;
  for (const DType type : storage_types())
    for (const Rule& rule : kRules) {
      CAPTURE(dtype_name(type), rule.momentum, rule.nesterov);
      const Stored g(type, s.g);
      const Vec grads = g.wide();
      Vec p, m;
      for (size_t chunk = 0; chunk + 1 < kChunks.size(); ++chunk)
        for (int64_t at = kChunks[chunk] - kChunks[0]; at < kChunks[chunk + 1] - kChunks[0]; ++at) {
          const auto i = size_t(at);
          const double gi = grads[i] * double(kGradScale) + double(kWeightDecay * kDecay[chunk]) * double(s.p[i]);
          const double momentum = double(rule.momentum);
          m.push_back(momentum * (momentum != 0 ? double(s.m[i]) : 0.0) + gi);
          p.push_back(double(s.p[i]) - double(kRate) * (rule.nesterov ? gi + momentum * m.back() : m.back()));
        }
      const Outputs got = update(s, rule, kScalars, g, type);
      check_close(got[0], p, 1e-6, 1.0);
      if (rule.momentum != 0.0f) check_close(got[1], m, 1e-6, 1.0);
    }
}

TEST_CASE("sgd: a skipped step touches nothing") {
  const State s;
  StepScalars skipped = kScalars;
  skipped.update = kNotFinite;
  skipped.grad_scale = NAN;
  for (const Rule& rule : kRules) {
    const Outputs got = update(s, rule, skipped, Stored(DType::f32, s.g));
    CHECK(got[0] == s.p);
    if (rule.momentum != 0.0f) CHECK(got[1] == s.m);
  }
}

TEST_CASE("sgd: a gradient in 16 bits counts as its values, and the rounded copy is the master's, bit for bit") {
  const State s;
  for (const DType type : storage_types()) {
    if (type == DType::f32) continue;
    const Stored g(type, s.g);
    for (const Rule& rule : kRules) {
      CAPTURE(dtype_name(type), rule.momentum, rule.nesterov);
      const Stored wide(DType::f32, g.values());
      const Outputs want = update(s, rule, kScalars, wide);
      for (const Stored& grad : {g, wide}) {
        const Outputs got = update(s, rule, kScalars, grad, type);
        CHECK(got[0] == want[0]);
        CHECK(got.values(rule.momentum != 0.0f ? 2 : 1, type) == Stored(type, want[0]).values());
      }
    }
  }
}

TEST_CASE("sgd: momentum without a buffer for it, or a buffer without momentum, is refused") {
  const State s;
  Run run;
  Sgd a{.p = run.output(s.p, {kElements}),
        .g = view(s.g, {kElements}),
        .chunk_begin = view(kChunks, {kNumChunks + 1}),
        .chunk_decay = view(kDecay, {kNumChunks}),
        .scalars = lend_to_device(&kScalars),
        .momentum = 0.9f};
  CHECK_THROWS_WITH(sgd(run.exec(), a), Catch::Contains("sgd: momentum 0.9 with m"));
  a.m = run.output(s.m, {kElements});
  a.momentum = 0.0f;
  CHECK_THROWS_WITH(sgd(run.exec(), a), Catch::Contains("sgd: momentum 0 with m"));
}

}  // namespace
}  // namespace ddp::test
