// The vision transformer's own: sizes, patches, recomputation, and that its parts lie where they are said to.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

#include "models/options_registry.h"
#include "models/registry.h"
#include "tests/support/gradient_check.h"

using namespace ddp;
using namespace ddp::test;

namespace {

std::unique_ptr<Model> model_of(const std::vector<std::string>& overrides) {
  return make_model(parse_config("model: {name: vit}\ndata: {format: synthetic, train: 100}\n", "test",
                                 config_registry(), overrides));
}

const std::vector<std::string> kSmall = {"model.layers=2", "model.heads=2",       "model.width=12",
                                         "model.patch=5",  "model.image_size=15", "model.classes=4"};

std::vector<std::string> small_with(std::vector<std::string> more) {
  more.insert(more.begin(), kSmall.begin(), kSmall.end());
  return more;
}

}  // namespace

TEST_CASE("vit: the published sizes, without class token and without the bias of the patches") {
  // timm's vit_tiny, vit_small and vit_base of 16 x 16 patches have 5,717,416, 22,050,664 and 86,567,656.
  CHECK(model_of({"model.preset=vit-tiny"})->layout().num_parameters() == 5'717'416 - 3 * 192);
  CHECK(model_of({"model.preset=vit-small"})->layout().num_parameters() == 22'050'664 - 3 * 384);
  CHECK(model_of({"model.preset=vit-base"})->layout().num_parameters() == 86'567'656 - 3 * 768);
}

TEST_CASE("vit: the gradient of every parameter agrees with finite differences of the loss") {
  const char* dropout = GENERATE("model.dropout=0", "model.dropout=0.2");
  const std::unique_ptr<Model> model = model_of(small_with({dropout}));
  ModelRunner run(*model, 3);
  scramble(*model, run.params);
  check_gradients(*model, run, {.relative = 6e-3, .margin = 3e-3});
}

TEST_CASE("vit: every recomputation gives the same bits, on any number of threads") {
  std::vector<float> grads;
  for (const char* recompute : {"none", "gelu", "gelu+ln", "block"})
    for (const int threads : {1, 3}) {
      CAPTURE(recompute, threads);
      const std::unique_ptr<Model> model =
          model_of(small_with({"model.dropout=0.1", std::string("train.recompute=") + recompute}));
      ModelRunner run(*model, 3, threads);
      scramble(*model, run.params);
      run.train();
      if (grads.empty()) grads = run.grads;
      CHECK(run.grads == grads);
    }
}

TEST_CASE("vit: without positions the order of patches does not matter, with them it does") {
  const std::unique_ptr<Model> model = model_of(kSmall);
  ModelRunner run(*model, 1);
  scramble(*model, run.params);
  const auto swap_patches = [&] {  // the first row of patches and the last
    uint8_t* image = run.batch.values<uint8_t>("image").data();
    std::swap_ranges(image, image + 5 * 15 * 3, image + 10 * 15 * 3);
  };
  const double loss = run.evaluate();
  swap_patches();
  CHECK(std::abs(run.evaluate() - loss) > 1e-4);
  const auto position = std::ranges::find(model->layout().params(), "pos_embed", &Param::name);
  REQUIRE(position != model->layout().params().end());
  std::fill_n(run.params.begin() + position->offset, position->numel, 0.0f);
  const double swapped = run.evaluate();
  swap_patches();
  CHECK(run.evaluate() == Approx(swapped).epsilon(1e-6));
}

TEST_CASE("vit: patches must divide the image") {
  CHECK_THROWS_WITH(
      check_config(parse_config("model: {name: vit, patch: 16, image_size: 30}\ndata: {format: synthetic, "
                                "train: 100}\n",
                                "test", config_registry()),
                   1),
      Catch::Contains("model.image_size 30 is not a multiple of model.patch 16"));
}
