// The head of a text's class: the first position, [CLS], through a linear layer and tanh (the pooler), dropout, and a
// classifier.
#pragma once

#include "models/bert/options/options.h"
#include "models/layers/classifier.h"
#include "models/layers/linear.h"

namespace ddp::bert {

class PooledHead {
 public:
  void declare(ParamLayout& layout, const Options& options);
  void set_dropout_site(uint32_t site) { site_ = site; }

  // pass.sums from hidden (M,C) and label (B) i32.
  void forward(const Pass& pass, const TensorView& hidden, const TensorView& label) const;
  // The same; dhidden (M,C) =. Announces the head's parameters.
  void forward_backward(const Pass& pass, const TensorView& dhidden, const TensorView& hidden, const TensorView& label,
                        const Classifier::LossGrad& loss_grad) const;

 private:
  struct Saved {
    ArenaTensor first;   // (B,C) of hidden
    ArenaTensor pooled;  // (B,C) after tanh
  };
  Saved pool(const Pass& pass, const TensorView& hidden, int64_t batch) const;

  Linear dense_{.order = WeightOrder::out_in};
  Classifier classifier_;
  uint32_t site_ = 0;
};

}  // namespace ddp::bert
