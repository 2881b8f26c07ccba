// The smallest model that uses what GPT-2 does not: two layers with batch norm on a field of floats, and a class label.
// It is in the tests alone, and trains by the product's trainer.
#pragma once

#include "models/layers/batch_norm.h"
#include "models/layers/classifier.h"
#include "models/layers/linear.h"
#include "models/registry.h"
#include "runtime/data/data_source.h"
#include "runtime/state/model.h"
#include "tests/toy/options.h"

namespace ddp::toy {

class Toy final : public Model {
 public:
  explicit Toy(const Options& options);

  const ParamLayout& layout() const override { return layout_; }
  const ParamLayout& state_layout() const override { return state_layout_; }
  // features: (features) f32 a sample; label: i32, below 0 where the sample counts for nothing.
  const std::vector<Input>& inputs() const override { return inputs_; }
  int64_t targets_per_sample() const override { return 1; }
  WorkUnit unit() const override { return {.abbreviation = "pt", .plural = "points"}; }
  void train(const Exec& exec, Arena& arena, const TrainPass& pass) const override;
  void evaluate(const Exec& exec, Arena& arena, const EvalPass& pass) const override;
  int num_eval_sums() const override { return kNumEvalSums; }

 private:
  // y (B,width) = relu(norm(x w + b)).
  struct Layer {
    Linear linear;
    BatchNorm norm;
  };
  ArenaTensor stored(const Pass& pass, const TensorView& features) const;  // in the storage type
  // What backward needs of one forward of a layer.
  struct Saved {
    ArenaTensor products, y;
    BatchNorm::Statistics statistics;
  };
  Saved forward(const Pass& pass, const Layer& layer, const TensorView& x) const;
  // From dy, which it overwrites, to dx, which may be empty.
  void backward(const Pass& pass, const Layer& layer, const TensorView& x, const Saved& saved, const TensorView& dy,
                const TensorView& dx) const;

  Options options_;
  std::vector<Input> inputs_;
  ParamLayout layout_, state_layout_;
  Layer first_, second_;
  Classifier head_;
};

ModelMakers model_makers();  // the product's and this one

// Clouds of points, one around each class's centre. The file holds the number of samples; each tenth, of training and
// of evaluation, has no label.
SourceMakers source_makers();  // the product's and data.format clouds

}  // namespace ddp::toy
