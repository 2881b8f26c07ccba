// Vision transformer (Dosovitskiy et al., 2021): patches of an image as tokens, pre-norm transformer blocks in which
// every patch sees all, the mean over patches, and a classifier. Shapes and the table of parameters are in README.md.
#pragma once

#include <vector>

#include "models/layers/classifier.h"
#include "models/layers/convolution.h"
#include "models/layers/pre_norm_stack.h"
#include "models/vit/options/options.h"
#include "runtime/state/model.h"

namespace ddp::vit {

class Vit final : public Model {
 public:
  // pixel_channels: padded_channels (models/layers/pixels.h).
  Vit(const Options& options, int64_t pixel_channels);

  const ParamLayout& layout() const override { return layout_; }
  // models/layers/pixels.h
  const std::vector<Input>& inputs() const override { return inputs_; }
  int64_t targets_per_sample() const override { return 1; }
  WorkUnit unit() const override { return {.abbreviation = "img", .plural = "images"}; }
  void train(const Exec& exec, Arena& arena, const TrainPass& pass) const override;
  void evaluate(const Exec& exec, Arena& arena, const EvalPass& pass) const override;
  int num_eval_sums() const override { return kNumEvalSums; }

 private:
  // (B,P,P,C): patches by their places.
  Shape patches(int64_t batch) const;
  PreNormStack::Activations forward(const Pass& pass, const TensorView& image, bool keep) const;
  // (B,C) from the stack's output.
  ArenaTensor averaged(const Pass& pass, const TensorView& out, int64_t batch) const;

  Options options_;
  int64_t pixel_channels_;
  std::vector<Input> inputs_;
  ParamLayout layout_;
  Convolution patch_;
  ParamId position_;
  PreNormStack stack_;
  Classifier head_;
};

}  // namespace ddp::vit
