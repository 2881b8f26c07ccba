#include "runtime/train/train_step.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "tests/support/gpt2_config.h"
#include "tests/support/step_runner.h"

using namespace ddp;
using Run = ddp::test::StepRunner;

namespace {

Config tiny_config() {
  Config config = test::gpt2_config({.layers = 2, .heads = 2, .width = 32, .context = 12, .vocab = 61});
  config.train.micro_batch = 2;
  config.train.global_batch = 8;
  config.train.steps = 20;
  config.train.bucket_mb = 0.01;
  config.optimizer.lr = 1e-2;
  return config;
}

}  // namespace

TEST_CASE("nothing allocates on the device after the first step, and the plan is exact to the byte") {
  Run run(tiny_config());
  run.train(1);
  const int64_t allocations = run.device->num_allocations();
  REQUIRE(run.device->memory_info().in_use_bytes == run.plan.device_bytes());
  for (int64_t s = 2; s <= 6; ++s) run.train(s);
  REQUIRE(run.device->num_allocations() == allocations);
}

TEST_CASE("the arena is within 2% of the live bound for the published model") {
  Config config = tiny_config();
  config.model.options = gpt2::Options{};
  for (int64_t micro_batch : {1, 4, 8}) {
    config.train.micro_batch = config.train.global_batch = micro_batch;
    const DryRun plan = dry_run(config, 1, *make_model(config));
    REQUIRE(double(plan.arena.arena_bytes) <= 1.02 * double(plan.arena.live_bytes));
  }
}

TEST_CASE("the dry run counts the multiplications of the published model") {
  Config config = tiny_config();
  config.model.options = gpt2::Options{};
  options_of<gpt2::Options>(config).context = 256;
  config.train.micro_batch = config.train.global_batch = 4;
  const DryRun plan = dry_run(config, 1, *make_model(config));
  // 6 N T for the linear layers (N without position embedding and norms), padded vocabulary included; causal attention
  // 2 + 5 products.
  const double tokens = 4 * 256, linear = 12.0 * 12 * 768 * 768 + 50304.0 * 768;
  const double attention = 12.0 * 2 * 7 * 4 * 768 * (256.0 * 257 / 2);
  REQUIRE(double(plan.flops()) == Approx(6 * linear * tokens + attention).epsilon(1e-9));
}

TEST_CASE("the loss falls, and metrics say what the update did") {
  Config config = tiny_config();
  config.schedule = {.name = ScheduleName::linear, .warmup_steps = 5, .min_lr = 1e-3};
  Run run(config);
  const StepMetrics first = run.train(1);
  REQUIRE(first.loss_sum / (8 * 12) == Approx(std::log(61.0)).epsilon(0.02));
  REQUIRE(first.lr == Approx(1e-2 / 5));
  REQUIRE(first.next.applied_steps == 1);
  REQUIRE(first.update == kApplied);
  StepMetrics last{};
  for (int64_t s = 2; s <= 20; ++s) last = run.train(s);
  REQUIRE(last.loss_sum < 0.7 * first.loss_sum);
  REQUIRE(last.lr == Approx(1e-3));
  REQUIRE(last.step() == 20);
}

TEST_CASE("a step is enqueued with the state of the step before the last at least") {
  Run run(tiny_config());
  const StepState start = run.known;
  run.train(1);
  run.train(2);
  const auto enqueue_with = [&](int64_t number, const StepState& known) {
    run.step.enqueue(
        number, [&]() -> const HostBatch& { return run.batch; }, {}, known);
  };
  CHECK_THROWS_WITH(enqueue_with(3, start), Catch::Contains("step 3 is enqueued with the state of step 1"));
  CHECK_THROWS_AS(enqueue_with(1, run.known), Bug);
}

TEST_CASE("lanes and threads give the same bits in every run") {
  Config config = tiny_config();
  config.train.deterministic = true;
  options_of<gpt2::Options>(config).dropout = 0.1;
  const auto weights = [&](int threads) {
    Run run(config, make_cpu_device({.num_threads = threads}));
    for (int64_t s = 1; s <= 4; ++s) run.train(s);
    return run.params();
  };
  const std::vector<float> one = weights(1);
  REQUIRE(weights(1) == one);
  REQUIRE(weights(3) == one);
}

TEST_CASE("a gradient that is not finite skips the update and is named by its chunk") {
  Run run(tiny_config());
  run.train(1);
  run.step.params().as<float>()[run.model->layout().params()[1].offset] = INFINITY;  // ln_f.bias
  const std::vector<float> before = run.params();
  const StepMetrics m = run.train(2);
  REQUIRE(m.update == kNotFinite);
  REQUIRE(m.bad_chunk >= 0);
  REQUIRE(m.next.applied_steps == 1);
  REQUIRE(run.params() == before);
}

TEST_CASE("of a GPU's memory a part is left to CUDA and its libraries, of the CPU's nothing") {
  CHECK(usable_bytes(int64_t(11) << 30, DeviceKind::cuda) == 10'500'440'064);
  CHECK(usable_bytes(9'000'000, DeviceKind::cuda) == 8'000'000);
  CHECK(usable_bytes(9'000'000, DeviceKind::cpu) == 9'000'000);
}

TEST_CASE("the largest micro-batch of a global batch divides it, fits, and can be trained") {
  Config config = test::gpt2_config({.layers = 1, .heads = 2, .width = 32, .context = 16, .vocab = 64});
  config.train.micro_batch = 1;
  config.train.global_batch = 96;
  const std::unique_ptr<Model> model = make_model(config);
  const auto bytes_of = [&](int64_t micro_batch) {
    Config trial = config;
    trial.train.micro_batch = micro_batch;
    return dry_run(trial, 2, *model).device_bytes();
  };
  CHECK(largest_dividing_micro_batch(config, 2, bytes_of(48), *model) == 48);
  CHECK(largest_dividing_micro_batch(config, 2, bytes_of(48) - 1, *model) == 24);
  CHECK(largest_dividing_micro_batch(config, 2, bytes_of(12) + 1, *model) == 12);
  CHECK(largest_dividing_micro_batch(config, 2, bytes_of(1) - 1, *model) == 0);
  config.train.deterministic = true;  // two ranks are two lanes at least, which is 48 of 96 on each
  CHECK(largest_dividing_micro_batch(config, 4, int64_t(1) << 40, *model) == 24);
}

TEST_CASE("the largest micro-batch of GPT-2 small on an 11 GB card is what models/gpt2/README.md says") {
  const auto largest = [](PrecisionName precision, TransformerRecompute recompute) {
    Config config = test::gpt2_config({.recompute = recompute});  // the sizes of GPT-2 small
    config.train.precision = precision;
    return largest_micro_batch(config, usable_bytes(int64_t(11) << 30, DeviceKind::cuda),
                               *make_model(config, DeviceKind::cuda), DeviceKind::cuda);
  };
  CHECK(largest(PrecisionName::fp32, TransformerRecompute::none) == 13);
  CHECK(largest(PrecisionName::fp32, TransformerRecompute::gelu) == 17);
  CHECK(largest(PrecisionName::fp32, TransformerRecompute::gelu_ln) == 21);
  CHECK(largest(PrecisionName::fp32, TransformerRecompute::block) == 89);
  for (const PrecisionName precision : {PrecisionName::fp16, PrecisionName::bf16}) {
    CHECK(largest(precision, TransformerRecompute::none) == 26);
    CHECK(largest(precision, TransformerRecompute::gelu) == 35);
    CHECK(largest(precision, TransformerRecompute::gelu_ln) == 41);
    CHECK(largest(precision, TransformerRecompute::block) == 178);
  }
}
