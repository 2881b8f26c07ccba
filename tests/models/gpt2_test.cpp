#include "models/gpt2/gpt2.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <set>

#include "runtime/state/init.h"
#include "tests/support/gradient_check.h"

using namespace ddp;
using ddp::test::check_gradients;
using ddp::test::ModelRunner;
using ddp::test::scramble;

namespace {

constexpr int64_t kVocab = 50;
gpt2::Options tiny(float dropout = 0.0f, bool tied = true) {
  return {
      .layers = 2, .heads = 2, .width = 24, .context = 9, .vocab = kVocab, .dropout = dropout, .tie_embeddings = tied};
}

}  // namespace

TEST_CASE("initial values are the same bits on any number of threads, and padding rows are zero") {
  const gpt2::Gpt2 model({.layers = 1, .heads = 2, .width = 72, .context = 9, .vocab = 2001});  // blocks and a tail
  const auto init = [&](int threads, uint64_t seed) {
    std::vector<float> params(size_t(model.layout().flat_elements()));
    ThreadPool pool({.num_threads = threads});
    init_params(model.layout(), params, seed, pool);
    return params;
  };
  const std::vector<float> one = init(1, 7);
  CHECK(init(2, 7) == one);
  CHECK(init(5, 7) == one);
  CHECK(init(1, 8) != one);
  const Param& wte = model.layout().params().back();
  const auto live_end = one.begin() + wte.offset + wte.live[0] * 72;
  CHECK(std::count(one.begin() + wte.offset, live_end, 0.0f) == 0);
  CHECK(std::count(live_end, one.end(), 0.0f) == one.end() - live_end);
}

TEST_CASE("the gradient of every parameter tensor agrees with finite differences of the loss") {
  const auto [dropout, tied] = GENERATE(std::pair(0.0f, true), std::pair(0.2f, true), std::pair(0.0f, false));
  CAPTURE(dropout, tied);
  const gpt2::Gpt2 model(tiny(dropout, tied));
  ModelRunner run(model, 3);
  scramble(model, run.params);
  check_gradients(model, run, {.relative = 4e-3, .margin = 2e-3});
}

TEST_CASE("gradients are announced once each, in the order of the layout but for a bias after its weight") {
  for (bool tied : {true, false}) {
    const gpt2::Gpt2 model(tiny(0.0f, tied));
    ModelRunner run(model, 2);
    run.train();
    REQUIRE(run.announced.size() == model.layout().params().size());
    REQUIRE(std::is_sorted(run.announced.begin(), run.announced.end()));
    REQUIRE(std::set<int>(run.announced.begin(), run.announced.end()).size() == run.announced.size());
  }
}

TEST_CASE("accumulating adds exactly what a first pass writes") {
  for (bool tied : {true, false}) {
    const gpt2::Gpt2 model(tiny(0.0f, tied));
    ModelRunner run(model, 2);
    std::fill(run.grads.begin(), run.grads.end(), 1e30f);  // "=" must not read what was there
    const std::vector<Param>& params = model.layout().params();
    for (size_t i = 0; i < params.size(); ++i) {  // padding stays zero
      const int64_t end = i + 1 < params.size() ? params[i + 1].offset : model.layout().flat_elements();
      std::fill(run.grads.begin() + params[i].offset + params[i].numel, run.grads.begin() + end, 0.0f);
    }
    run.train();
    const std::vector<float> once = run.grads;
    run.train(/*accumulate=*/true);
    for (size_t i = 0; i < once.size(); ++i)
      REQUIRE(run.grads[i] == Approx(2 * double(once[i])).epsilon(1e-5).margin(1e-6));
  }
}

TEST_CASE("every recompute mode gives the same bits, with every activation") {
  const Activation activation = GENERATE(Activation::gelu_new, Activation::gelu, Activation::relu, Activation::tanh);
  CAPTURE(name_of(activation));
  const auto gradients = [activation](TransformerRecompute mode) {
    gpt2::Options options = tiny(0.1f, true);
    options.activation = activation;
    options.recompute = mode;
    const gpt2::Gpt2 model(options);
    ModelRunner run(model, 2);
    run.train();
    return run.grads;
  };
  const std::vector<float> kept = gradients(TransformerRecompute::none);
  for (auto mode : {TransformerRecompute::gelu, TransformerRecompute::gelu_ln, TransformerRecompute::block})
    CHECK(gradients(mode) == kept);
}

TEST_CASE("padding rows of the vocabulary get no gradient and do not change the loss") {
  const gpt2::Gpt2 model(tiny());
  ModelRunner run(model, 2);
  run.train();
  const Param& wte = model.layout().params().back();
  REQUIRE(wte.name == "wte.weight");
  REQUIRE(wte.shape[0] == 64);
  REQUIRE(wte.live[0] == kVocab);
  for (int64_t i = kVocab * 24; i < wte.numel; ++i) REQUIRE(run.grads[size_t(wte.offset + i)] == 0.0f);
}

TEST_CASE("a fresh model is as wrong as a uniform guess, and evaluation equals training's loss") {
  const gpt2::Gpt2 model(tiny());
  ModelRunner run(model, 2);
  const double trained = run.train();
  REQUIRE(trained / 18 == Approx(std::log(double(kVocab))).epsilon(0.02));
  REQUIRE(run.evaluate() == trained);
}

TEST_CASE("generation looks at no later token") {
  const gpt2::Gpt2 model(tiny());
  ModelRunner run(model, 1);
  scramble(model, run.params);
  const std::vector<float> before = run.generate(4);
  const std::span<int32_t> tokens = run.batch.values<int32_t>("tokens");
  for (size_t i = 5; i < 9; ++i) tokens[i] = 0;
  REQUIRE(run.generate(4) == before);
  tokens[4] = (tokens[4] + 1) % int32_t(kVocab);
  REQUIRE(run.generate(4) != before);
}

TEST_CASE("dropout depends on the step and the sample's id alone") {
  const gpt2::Gpt2 model(tiny(0.3f));
  ModelRunner run(model, 2);
  const double first = run.train();
  REQUIRE(run.train() == first);
  run.attempted_step = 2;
  REQUIRE(run.train() != first);
  run.attempted_step = 1;
  // Swapping the samples with their ids changes nothing: a few losses add up in double without an error.
  for (const char* name : {"tokens", "targets"}) {
    const std::span<int32_t> values = run.batch.values<int32_t>(name);
    std::swap_ranges(values.begin(), values.begin() + 9, values.begin() + 9);
  }
  REQUIRE(run.train() != first);
  std::swap(run.batch.sample_ids()[0], run.batch.sample_ids()[1]);
  REQUIRE(run.train() == first);
}

TEST_CASE("the number of threads changes no bit of loss and gradients") {
  const gpt2::Gpt2 model({.layers = 2, .heads = 3, .width = 96, .context = 33, .vocab = 300, .dropout = 0.1});
  std::vector<float> grads;
  for (int threads : {1, 2, 3, 5}) {
    ModelRunner run(model, 3, threads);
    run.train();
    if (grads.empty()) grads = run.grads;
    REQUIRE(run.grads == grads);
  }
}

TEST_CASE("the published model has its number of parameters") {
  REQUIRE(gpt2::Gpt2(gpt2::Options{}).layout().num_parameters() == 124'439'808);
}
