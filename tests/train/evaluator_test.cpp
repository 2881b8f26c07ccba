#include "runtime/train/evaluator.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "tests/support/gpt2_config.h"
#include "tests/support/step_runner.h"

using namespace ddp;

namespace {

constexpr int64_t kVocab = 61;

// Held-out samples without a file, the same again after kDistinct of them.
constexpr int64_t kDistinct = 50;
class LearnableSource final : public DataSource {
 public:
  LearnableSource() : DataSource(Split::valid, 0) {}
  int64_t num_samples() const override { return 60 * kDistinct; }
  std::string fingerprint() const override { return {}; }

 private:
  void fill_sample(HostBatch& batch, int64_t i, const Draw& draw) const override {
    std::ranges::fill(batch.sample<int32_t>("tokens", i), int32_t(draw.sample % kDistinct));
    std::ranges::fill(batch.sample<int32_t>("targets", i), int32_t((draw.sample % kDistinct * 7 + 3) % kVocab));
  }
};

Config small_config() {
  Config config = test::gpt2_config({.layers = 1, .heads = 2, .width = 32, .context = 12, .vocab = kVocab});
  config.train.micro_batch = config.train.global_batch = 2;
  return config;
}

}  // namespace

TEST_CASE("an evaluation gives a sign of life after each micro-batch: it may last longer than a hang is waited for") {
  constexpr int64_t kSamples = 13;  // in 7 micro-batches
  test::StepRunner run(small_config());
  const LearnableSource source;
  EvalBatches batches(source, run.step.batch_layout(), {.samples = kSamples});
  Evaluator evaluator(*run.device, *run.comm, run.step, run.step.reducer().comm_stream(), batches);
  int64_t beats = 0;
  const std::optional<std::vector<double>> sums = evaluator.run(test::StepRunner::kWait, [&] { return ++beats > 0; });
  CHECK(beats == 7);
  REQUIRE(sums.has_value());
  CHECK(sums->at(kCountedTargets) == kSamples * 12);
  CHECK(sums->at(kLossSum) / sums->at(kCountedTargets) ==
        Approx(std::log(double(kVocab))).epsilon(0.05));  // of a model that has learnt nothing
}

TEST_CASE("an evaluation has the sums of more samples than the device keeps at once") {
  test::StepRunner run(small_config());
  const LearnableSource source;
  const auto totals = [&](int64_t samples) {
    EvalBatches batches(source, run.step.batch_layout(), {.samples = samples});
    REQUIRE(batches.num_samples() == (samples == 0 ? source.num_samples() : samples));
    Evaluator evaluator(*run.device, *run.comm, run.step, run.step.reducer().comm_stream(), batches);
    return evaluator.run(test::StepRunner::kWait, [] { return true; }).value_or(std::vector<double>(kNumTrainSums));
  };
  REQUIRE(source.num_samples() * kNumTrainSums > run.step.eval_sums().numel());
  const std::vector<double> all = totals(0), once = totals(kDistinct);
  CHECK(all[kCountedTargets] == double(60 * kDistinct * 12));
  CHECK(all[kLossSum] == Approx(60 * once[kLossSum]).epsilon(1e-12));
}

TEST_CASE("an evaluation alone takes no memory for gradients or an optimizer, and what training takes for the rest") {
  Config config = test::gpt2_config({.layers = 2, .heads = 2, .width = 32, .context = 12, .vocab = kVocab});
  for (const PrecisionName precision : {PrecisionName::fp32, PrecisionName::fp16}) {
    config.train.precision = precision;
    const std::unique_ptr<Model> model = make_model(config, DeviceKind::cpu, model_makers());
    const DryRun both = dry_run(config, 1, *model), alone = dry_run_evaluation(config, 1, *model);
    CHECK(both.memory.grads > 0);
    CHECK(both.memory.optimizer > 0);
    CHECK(alone.memory.grads == 0);
    CHECK(alone.memory.optimizer == 0);
    CHECK(alone.memory.params == both.memory.params);
    CHECK(alone.memory.input == both.memory.input);
    CHECK(alone.arena.arena_bytes > 0);
    CHECK(alone.arena.arena_bytes < both.arena.arena_bytes);
    CHECK(alone.symmetric_bytes == 0);
  }
}
