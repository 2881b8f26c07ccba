// ResNet's own: sizes as published, names and shapes as torchvision's, initial values, recomputation, memory.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

#include "models/options_registry.h"
#include "models/registry.h"
#include "models/resnet/resnet.h"
#include "runtime/state/saved_view.h"
#include "runtime/train/dry_run.h"
#include "tests/support/model_runner.h"

using namespace ddp;
using namespace ddp::test;

namespace {

Config config_of(const std::vector<std::string>& overrides) {
  return parse_config("model: {name: resnet}\ndata: {format: synthetic, train: 100}\n", "test", config_registry(),
                      overrides);
}
std::unique_ptr<Model> model_of(const std::vector<std::string>& overrides) { return make_model(config_of(overrides)); }

const std::vector<std::string> kSmall = {"model.blocks=[1, 2]", "model.width=8", "model.image_size=21",
                                         "model.classes=5"};

std::vector<std::string> small_with(std::vector<std::string> more) {
  more.insert(more.begin(), kSmall.begin(), kSmall.end());
  return more;
}

}  // namespace

TEST_CASE("resnet: the published sizes") {
  const std::pair<const char*, int64_t> sizes[] = {
      {"resnet18", 11'689'512},  {"resnet34", 21'797'672},  {"resnet50", 25'557'032},
      {"resnet101", 44'549'160}, {"resnet152", 60'192'808},
  };
  for (const auto& [preset, parameters] : sizes)
    CHECK(model_of({std::string("model.preset=") + preset})->layout().num_parameters() == parameters);
  CHECK(model_of({"model.preset=resnet50"})->state_layout().num_parameters() == 2 * 26'560);
}

TEST_CASE("resnet: saved names and shapes are torchvision's") {
  const std::unique_ptr<Model> model = model_of({"model.preset=resnet50"});
  std::map<std::string, std::string> saved;
  for (const ParamLayout* layout : {&model->layout(), &model->state_layout()})
    for (const Param& p : layout->params())
      for (const NamedView& t : saved_tensors(*layout, p)) saved[t.name] = t.view.shape.text();
  CHECK(saved.size() == 161 + 2 * 53);
  CHECK(saved["conv1.weight"] == "[64, 3, 7, 7]");
  CHECK(saved["bn1.running_var"] == "[64]");
  CHECK(saved["layer1.0.conv1.weight"] == "[64, 64, 1, 1]");
  CHECK(saved["layer1.0.downsample.0.weight"] == "[256, 64, 1, 1]");
  CHECK(saved["layer2.0.conv2.weight"] == "[128, 128, 3, 3]");
  CHECK(saved["layer2.0.downsample.1.running_mean"] == "[512]");
  CHECK(saved["layer4.2.bn3.bias"] == "[2048]");
  CHECK(saved["fc.weight"] == "[1000, 2048]");
}

TEST_CASE("resnet: each block starts as the identity, convolutions by their fan out") {
  const std::unique_ptr<Model> model = model_of(kSmall);
  ModelRunner run(*model, 2);
  const auto values = [&](const std::string& name) {
    const auto p = std::ranges::find(model->layout().params(), name, &Param::name);
    REQUIRE(p != model->layout().params().end());
    return std::vector<float>(run.params.begin() + p->offset, run.params.begin() + p->offset + p->numel);
  };
  for (const float x : values("layer2.1.bn3.weight")) CHECK(x == 0.0f);
  for (const float x : values("layer2.1.bn2.weight")) CHECK(x == 1.0f);
  for (const float x : values("layer2.0.downsample.1.weight")) CHECK(x == 1.0f);
  const std::vector<float> w = values("layer2.0.conv2.weight");  // 3 x 3 of 16 channels
  double squares = 0;
  for (const float x : w) squares += double(x) * double(x);
  CHECK(std::sqrt(squares / double(w.size())) == Approx(std::sqrt(2.0 / (9 * 16))).epsilon(0.05));
}

TEST_CASE("resnet: every recomputation gives the same bits") {
  for (const char* kind : {"basic", "bottleneck"}) {
    std::vector<float> grads;
    std::vector<double> statistics;
    for (const char* recompute : {"none", "relu", "block"}) {
      CAPTURE(kind, recompute);
      const std::unique_ptr<Model> model =
          model_of(small_with({std::string("model.block=") + kind, std::string("train.recompute=") + recompute}));
      ModelRunner run(*model, 3, /*threads=*/2);
      for (const Param& p : model->layout().params())  // so that no branch is 0
        if (p.name.find(".bn") != std::string::npos)
          for (int64_t i = 0; i < p.numel; ++i) run.params[size_t(p.offset + i)] += 0.25f + 0.01f * float(i % 7);
      run.train();
      if (grads.empty()) grads = run.grads, statistics = run.statistics;
      CHECK(run.grads == grads);
      CHECK(run.statistics == statistics);
    }
  }
}

TEST_CASE("resnet: channels that pad a pixel have no gradient") {
  const std::unique_ptr<Model> model = model_of(kSmall);
  const Param& conv1 = model->layout().params().back();
  REQUIRE(conv1.name == "conv1.weight");
  REQUIRE(conv1.shape == Shape{8, 7, 7, 4});
  ModelRunner run(*model, 2);
  run.train();
  for (int64_t i = 3; i < conv1.numel; i += 4) REQUIRE(run.grads[size_t(conv1.offset + i)] == 0.0f);
}

TEST_CASE("resnet: the largest micro-batch of ResNet-50 on an 11 GB card is what models/resnet/README.md says") {
  struct Row {
    const char *precision, *recompute;
    int64_t largest;
  };
  const Row rows[] = {{"fp16", "none", 247}, {"fp16", "relu", 294}, {"fp16", "block", 712},
                      {"fp32", "none", 121}, {"fp32", "relu", 145}, {"fp32", "block", 356}};
  for (const Row& row : rows) {
    CAPTURE(row.precision, row.recompute);
    const Config config =
        config_of({"model.preset=resnet50", "optimizer.name=sgd", std::string("train.precision=") + row.precision,
                   std::string("train.recompute=") + row.recompute});
    const std::unique_ptr<Model> model = make_model(config, DeviceKind::cuda);
    CHECK(largest_micro_batch(config, usable_bytes(int64_t(11) << 30, DeviceKind::cuda), *model, DeviceKind::cuda) ==
          row.largest);
  }
}

TEST_CASE("resnet: the largest micro-batch is looked for from two on where one has no variance") {
  const Config config = config_of({"model.preset=resnet18", "model.image_size=32", "optimizer.name=sgd"});
  const std::unique_ptr<Model> model = make_model(config);
  CHECK(largest_micro_batch(config, 10'500'000'000, *model) > 1000);
  CHECK(largest_micro_batch(config, 1'000'000, *model) == 0);
}
