// Values against each other and against the number of ranks.
#include <catch2/catch.hpp>

#include "tests/config/support.h"

using namespace ddp;
using namespace ddp::test;
using Catch::Contains;

namespace {

Config batches(int64_t micro, int64_t global, bool deterministic = false) {
  Config c = parse(kMinimal);
  c.train.micro_batch = micro;
  c.train.global_batch = global;
  c.train.deterministic = deterministic;
  return c;
}

Failure check_failure(const Config& config, int ranks = 1) {
  return failure_of([&] { check_config(config, ranks); });
}

}  // namespace

TEST_CASE("a global batch is cut into micro-batches over ranks, or the error lists what works") {
  CHECK_NOTHROW(check_config(batches(8, 64), 4));
  CHECK(accumulation_steps(batches(8, 64), 4) == 2);
  CHECK(accumulation_steps(batches(8, 64), 1) == 8);

  const Failure f = check_failure(batches(8, 60), 2);
  CHECK(f.code == 78);
  CHECK_THAT(f.message, Contains("global_batch values that work: 48 or 64") &&
                            Contains("micro_batch values that work: 1, 2, 3, 5, 6, 10"));
  CHECK_THAT(check_failure(batches(8, 8), 3).message,
             Contains("global_batch values that work: 24") && Contains("ranks that divide global_batch: 1, 2, 4, 8"));
}

TEST_CASE("deterministic takes every power-of-two number of ranks up to the lanes") {
  struct Case {
    int64_t micro, global, lanes;
  };
  for (const Case& c :
       {Case{8, 8, 1}, Case{8, 24, 1}, Case{8, 32, 4}, Case{4, 48, 4}, Case{1, 128, 8}, Case{3, 72, 8}}) {
    const Config config = batches(c.micro, c.global, true);
    INFO(c.micro << " " << c.global);
    CHECK(num_lanes(config) == c.lanes);
    for (int ranks = 1; ranks <= 16; ++ranks) {
      const bool power_of_two = (ranks & (ranks - 1)) == 0;
      CHECK(check_failure(config, ranks).code == (power_of_two && ranks <= c.lanes ? 0 : 78));
    }
  }
  CHECK_THAT(check_failure(batches(8, 48, true), 3).message, Contains("numbers of ranks that work: 1, 2"));
  CHECK_THAT(check_failure(batches(8, 48, true), 4).message,
             Contains("micro_batch values that work: 1, 2, 3, 4, 6, 12"));
  CHECK_NOTHROW(check_config(batches(8, 48), 3));
}

TEST_CASE("every micro_batch that an error offers works") {
  Config c = batches(7, 96, true);
  for (const int64_t micro : {1, 2, 3, 4, 6, 12}) {
    c.train.micro_batch = micro;
    CHECK_NOTHROW(check_config(c, 8));
  }
}

TEST_CASE("heads divide width") {
  Config c = parse(kMinimal);
  options_of<gpt2::Options>(c).width = 100;
  options_of<gpt2::Options>(c).heads = 3;
  CHECK_THAT(check_failure(c).message,
             Contains("heads that work: 1, 2, 4, 5, 10") && Contains("widths that work: 99 or 102"));
}

TEST_CASE("limits between keys") {
  const auto message = [](const std::vector<std::string>& overrides) {
    const Failure f = check_failure(parse(kMinimal, overrides));
    CHECK(f.code == 78);
    return f.message;
  };
  CHECK_THAT(message({"optimizer.lr=1e-3", "schedule.min_lr=2e-3"}), Contains("set it to 0.001 or less"));
  CHECK_THAT(message({"optimizer.name=sgd", "optimizer.betas=[0.9, 0.99]"}),
             Contains("optimizer.betas is set, which is adamw's, and optimizer.name is sgd"));
  CHECK_THAT(message({"optimizer.momentum=0.5"}), Contains("optimizer.momentum is set, which is sgd's"));
  CHECK_THAT(message({"optimizer.name=sgd", "optimizer.momentum=0", "optimizer.nesterov=true"}),
             Contains("optimizer.nesterov without optimizer.momentum"));
  CHECK_THAT(message({"train.steps=5", "schedule.warmup_steps=6"}), Contains("set it to 5 or less"));
  CHECK_THAT(message({"eval.every=5"}), Contains("data.valid"));
  CHECK_THAT(message({"data.format=bytes", "model.vocab=255"}), Contains("256"));
  for (const char* precision : {"fp32", "bf16", "tf32"})
    CHECK_THAT(message({"train.loss_scale=1024", std::string("train.precision=") + precision}),
               Contains("only fp16 is scaled"));
  CHECK_NOTHROW(check_config(parse(kMinimal, {"train.steps=5", "schedule.warmup_steps=5", "schedule.min_lr=1e-3"}), 1));
}

TEST_CASE("checkpoint.best is of something that evaluations count") {
  const auto check = [](const std::vector<std::string>& overrides) {
    return check_failure(parse(kMinimal, overrides));
  };
  const Failure never = check({"checkpoint.best=loss"});
  CHECK(never.code == 78);
  CHECK_THAT(never.message, Contains("eval.every is 0") && Contains("set eval.every"));
  const Failure uncounted = check({"checkpoint.best=accuracy", "eval.every=5", "data.valid=v"});
  CHECK(uncounted.code == 78);
  CHECK_THAT(uncounted.message, Contains("no evaluation of gpt2 counts") && Contains("set checkpoint.best to loss"));
  CHECK(check({"checkpoint.best=loss", "eval.every=5", "data.valid=v"}).message.empty());
  CHECK(change_texts(parse(kMinimal), parse(kMinimal, {"checkpoint.best=loss"})).empty());
}

TEST_CASE("data.augment is of pictures, and auto means what suits the format") {
  const auto with = [](const std::string& format, const std::string& augment = "auto") {
    return parse(kMinimal, {"data.format=" + format, "data.augment=" + augment});
  };
  const Failure f = check_failure(with("bytes", "flip"));
  CHECK(f.code == 78);
  CHECK_THAT(f.message, Contains("data.augment is flip, and data.format bytes has no pictures to vary"));
  CHECK(with("images").data.augment == Augment::resized_crop);
  CHECK(with("cifar10").data.augment == Augment::shift);
  CHECK(with("idx").data.augment == Augment::none);
  CHECK(with("bytes").data.augment == Augment::automatic);
  CHECK(with("images", "none").data.augment == Augment::none);
  CHECK(change_texts(with("images"), with("images", "resized_crop")).empty());
}
