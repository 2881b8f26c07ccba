// The head of a masked-language model by itself: a transform, and a classifier with a bias over a padded vocabulary.
#include <catch2/catch.hpp>
#include <cmath>

#include "models/layers/classifier.h"
#include "models/layers/head_transform.h"
#include "models/layers/summed_grad.h"
#include "tests/support/gradient_check.h"

using namespace ddp;
using namespace ddp::test;

namespace {

constexpr int64_t kWidth = 11, kVocab = 37, kPaddedVocab = 64;

class MaskedHead final : public Model {
 public:
  MaskedHead() {
    classifier_.bias = layout_.add("bias", {kPaddedVocab}, /*decay=*/false, {}, {kVocab});
    classifier_.weight =
        layout_.add("weight", {kPaddedVocab, kWidth}, /*decay=*/true, Init::normal(0.3), {kVocab, kWidth});
    classifier_.live_columns = kVocab;
    classifier_.rows_at_once = 2;
    transform_.norm.eps = 1e-3f;
    transform_.declare(layout_, "transform", kWidth, 0.3);
  }
  const ParamLayout& layout() const override { return layout_; }
  const std::vector<Input>& inputs() const override { return inputs_; }
  int64_t targets_per_sample() const override { return 1; }
  WorkUnit unit() const override { return {.abbreviation = "word", .plural = "words"}; }

  void train(const Exec& exec, Arena& arena, const TrainPass& args) const override {
    const Pass pass = Pass::of(exec, arena, *this, args);
    const TensorView x = args.batch["features"];
    HeadTransform::Saved saved;
    transform_.forward(pass, saved, x);
    const ArenaTensor dy = pass.take(x.shape, "dy");
    classifier_.forward_backward(pass,
                                 {.dx = dy, .dw = pass.grad(classifier_.weight), .db = pass.grad(classifier_.bias)},
                                 saved.norm.out, args.batch["word"], {args.grad_scale, args.loss_scale});
    pass.announce(classifier_.bias);
    pass.announce(classifier_.weight);
    transform_.backward(pass, saved, /*dx=*/dy, dy, x);
  }
  void evaluate(const Exec& exec, Arena& arena, const EvalPass& args) const override {
    const Pass pass = Pass::of(exec, arena, *this, args);
    HeadTransform::Saved saved;
    transform_.forward(pass, saved, args.batch["features"]);
    classifier_.forward(pass, saved.norm.out, args.batch["word"]);
  }

 private:
  std::vector<Input> inputs_ = {{.name = "features", .dtype = DType::f32, .sample = {kWidth}},
                                {.name = "word", .sample = {}, .limit = kVocab, .is_target = true}};
  ParamLayout layout_;
  HeadTransform transform_;
  Classifier classifier_;
};

// The same in double, from the definition, at these flat parameters.
double loss_in_double(const MaskedHead& model, const ModelRunner& run, const std::vector<double>& params) {
  const auto at = [&](const std::string& name) -> const double* {
    for (const Param& p : model.layout().params())
      if (p.name == name) return params.data() + p.offset;
    FAIL(name);
    return nullptr;
  };
  const double *dense = at("transform.dense.weight"), *dense_bias = at("transform.dense.bias"),
               *gain = at("transform.LayerNorm.weight"), *shift = at("transform.LayerNorm.bias"),
               *weight = at("weight"), *bias = at("bias");
  const TensorView features = run.batch.view("features"), words = run.batch.view("word");
  double loss = 0;
  for (int64_t row = 0; row < features.dim(0); ++row) {
    const float* x = features.as<float>() + row * kWidth;
    std::vector<double> y(kWidth);
    double mean = 0, variance = 0;
    for (int64_t j = 0; j < kWidth; ++j) {
      double sum = dense_bias[j];
      for (int64_t i = 0; i < kWidth; ++i) sum += double(x[i]) * dense[j * kWidth + i];
      y[size_t(j)] = sum / 2 * (1 + std::erf(sum / std::sqrt(2.0)));
      mean += y[size_t(j)] / kWidth;
    }
    for (const double v : y) variance += (v - mean) * (v - mean) / kWidth;
    for (int64_t j = 0; j < kWidth; ++j)
      y[size_t(j)] = (y[size_t(j)] - mean) / std::sqrt(variance + 1e-3) * gain[j] + shift[j];
    double sum = 0, logit_of_target = 0;
    for (int64_t v = 0; v < kVocab; ++v) {
      double logit = bias[v];
      for (int64_t i = 0; i < kWidth; ++i) logit += y[size_t(i)] * weight[v * kWidth + i];
      sum += std::exp(logit);
      if (v == words.as<int32_t>()[row]) logit_of_target = logit;
    }
    loss += std::log(sum) - logit_of_target;
  }
  return loss;
}

}  // namespace

TEST_CASE("a head with transform and bias has the loss of its definition, in training and evaluation") {
  const MaskedHead model;
  ModelRunner run(model, 5);
  scramble(model, run.params);
  const double expected = loss_in_double(model, run, {run.params.begin(), run.params.end()});
  CHECK(run.train() == Approx(expected).epsilon(1e-6));
  CHECK(run.evaluate() == Approx(expected).epsilon(1e-6));
}

// Closer than differences of an f32 loss could tell: the two forms of GELU differ by less than 1e-3.
TEST_CASE("a head with transform and bias has the derivatives of its definition, and none in the padding") {
  const MaskedHead model;
  ModelRunner run(model, 5);
  scramble(model, run.params);
  std::ranges::fill(run.grads, NAN);
  run.train();
  CHECK(run.announced.size() == model.layout().params().size());
  std::vector<double> params(run.params.begin(), run.params.end());
  const auto derivative = [&](size_t i) {
    constexpr double kStep = 1e-5;
    const double at = params[i];
    params[i] = at + kStep;
    const double above = loss_in_double(model, run, params);
    params[i] = at - kStep;
    const double below = loss_in_double(model, run, params);
    params[i] = at;
    return (above - below) / (2 * kStep);
  };
  for (const Param& p : model.layout().params()) {
    CAPTURE(p.name);
    double worst = 0, largest = 0;
    for (int64_t i = 0; i < p.live.numel(); ++i) {
      const double expected = derivative(size_t(p.offset + i));
      worst = std::max(worst, std::abs(double(run.grads[size_t(p.offset + i)]) - expected));
      largest = std::max(largest, std::abs(expected));
    }
    CHECK(worst < 1e-5 * largest);
    for (int64_t i = p.live.numel(); i < p.numel; ++i) CHECK(run.grads[size_t(p.offset + i)] == 0.0f);
  }
}
