// ResNet's keys: presets, lists of numbers, what is checked, and the micro-batch, which belongs to its result.
#include <catch2/catch.hpp>

#include "models/resnet/options/options.h"
#include "tests/config/support.h"

using namespace ddp;
using namespace ddp::test;
using Catch::Contains;

namespace {

const std::string kText = "model: {name: resnet}\ndata: {format: synthetic, train: 100}\n";

resnet::Options options(const std::vector<std::string>& overrides) {
  return options_of<resnet::Options>(parse(kText, overrides));
}
Failure check_failure(const std::vector<std::string>& overrides) {
  return failure_of([&] { check_config(parse(kText, overrides), 1); });
}

}  // namespace

TEST_CASE("resnet: a preset sets block and blocks, and what is given beside it wins") {
  CHECK(options({"model.preset=resnet50"}).blocks == std::vector<int64_t>{3, 4, 6, 3});
  CHECK(options({"model.preset=resnet101"}).blocks == std::vector<int64_t>{3, 4, 23, 3});
  const resnet::Options r18 = options({"model.preset=resnet18"});
  CHECK(r18.block == resnet::BlockKind::basic);
  CHECK(r18.blocks == std::vector<int64_t>{2, 2, 2, 2});
  const resnet::Options own = options({"model.preset=resnet18", "model.blocks=[1, 1]", "model.block=bottleneck"});
  CHECK(own.block == resnet::BlockKind::bottleneck);
  CHECK(own.blocks == std::vector<int64_t>{1, 1});
}

TEST_CASE("resnet: mean and deviation follow the channels unless they are given") {
  CHECK(options({}).image.pixel_mean == std::vector<double>{0.485, 0.456, 0.406});
  CHECK(options({"model.channels=1"}).image.pixel_std == std::vector<double>{0.5});
  CHECK(options({"model.channels=1", "model.pixel_mean=[0.286]"}).image.pixel_mean == std::vector<double>{0.286});
  const Failure f = check_failure({"model.channels=1", "model.pixel_mean=[0.2, 0.3]"});
  CHECK(f.code == 78);
  CHECK_THAT(f.message, Contains("model.pixel_mean has 2 numbers and model.channels is 1"));
}

TEST_CASE("resnet: a list is of numbers in range, neither empty nor too long, and prints to itself") {
  for (const std::string value :
       {"3", "[]", "[3, x]", "[3, 0]", "[3, 1.5]", "[[3]]", "{a: 3}", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]"}) {
    CAPTURE(value);
    const Failure f = failure_of([&] { options({"model.blocks=" + value}); });
    CHECK(f.code == 78);
    CHECK_THAT(f.message, Contains("model.blocks is ") && Contains("a list of integers"));
  }
  CHECK_THAT(failure_of([&] { options({"model.pixel_std=[0.5, 0.5, 0]"}); }).message, Contains("(0, 1]"));
  const Config config = parse(kText, {"model.blocks=[2, 1]", "model.pixel_mean=[0.1, 0.25, 1]"});
  CHECK_THAT(to_yaml(config), Contains("blocks: [2, 1]\n") && Contains("pixel_mean: [0.1, 0.25, 1]\n"));
  CHECK(flatten(parse(to_yaml(config))) == flatten(config));
}

TEST_CASE("resnet: one position in all has no variance") {
  CHECK(check_failure({"train.micro_batch=1", "train.global_batch=1"}).code == 0);  // 7 x 7 at the end
  const Failure f = check_failure({"train.micro_batch=1", "train.global_batch=1", "model.image_size=32"});
  CHECK(f.code == 78);
  CHECK_THAT(f.message, Contains("train.micro_batch 1") && Contains("batch norm") && Contains("2 or more"));
}

TEST_CASE("resnet: a resume has the micro-batch of before, since it is normalised as a whole") {
  const Config before = parse(kText), now = parse(kText, {"train.micro_batch=16"});
  CHECK(change_texts(before, now) == std::vector<std::string>{"train.micro_batch: 8 became 16"});
  CHECK(config_digest(before) != config_digest(now));
  const Config gpt2 = parse(kMinimal), other = parse(kMinimal, {"train.micro_batch=16"});
  CHECK(change_texts(gpt2, other).empty());
  CHECK(config_digest(gpt2) == config_digest(other));
}
