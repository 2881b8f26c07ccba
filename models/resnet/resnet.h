// ResNet v1.5 (He et al., 2016; the stride in the 3x3 convolution of a bottleneck): a stem, stages of residual blocks,
// the mean over positions, and a classifier. Shapes and the table of parameters are in README.md. Names of the
// parameters are torchvision's, so that a saved model loads there and theirs load here.
#pragma once

#include <array>
#include <vector>

#include "models/layers/classifier.h"
#include "models/resnet/block.h"
#include "runtime/state/model.h"

namespace ddp::resnet {

class ResNet final : public Model {
 public:
  // pixel_channels: padded_channels (models/layers/pixels.h).
  ResNet(const Options& options, int64_t pixel_channels);

  const ParamLayout& layout() const override { return layout_; }
  const ParamLayout& state_layout() const override { return state_layout_; }
  // models/layers/pixels.h
  const std::vector<Input>& inputs() const override { return inputs_; }
  int64_t targets_per_sample() const override { return 1; }
  WorkUnit unit() const override { return {.abbreviation = "img", .plural = "images"}; }
  void train(const Exec& exec, Arena& arena, const TrainPass& pass) const override;
  void evaluate(const Exec& exec, Arena& arena, const EvalPass& pass) const override;
  int num_eval_sums() const override { return kNumEvalSums; }

 private:
  struct StemSaved {
    ArenaTensor conv;
    BatchNorm::Statistics statistics;
    ArenaTensor index;  // u8: of the max pooling
  };
  // The first block's input; what backward needs goes to `saved`.
  ArenaTensor stem_forward(const Pass& pass, StemSaved& saved, const TensorView& image) const;
  void stem_backward(const Pass& pass, StemSaved saved, const TensorView& image, ArenaTensor dout) const;
  // (N,C) from the last block's output.
  ArenaTensor averaged(const Pass& pass, const TensorView& x) const;

  Options options_;
  int64_t pixel_channels_;
  std::vector<Input> inputs_;
  ParamLayout layout_, state_layout_;
  Unit stem_;
  std::vector<Block> blocks_;
  Classifier head_;
};

}  // namespace ddp::resnet
