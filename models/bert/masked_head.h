// The head of masked language modelling: at some positions of each sample a transform, then a classifier over the
// vocabulary that is tied to the word embedding and has a bias of its own. Logits exist at these positions alone.
#pragma once

#include "models/bert/options/options.h"
#include "models/layers/classifier.h"
#include "models/layers/head_transform.h"
#include "models/layers/summed_grad.h"

namespace ddp::bert {

class MaskedHead {
 public:
  // What a pass reads, (B,K) i32 each: ascending positions in the sample, and the tokens to be predicted there; both -1
  // where a sample has fewer.
  struct Masked {
    TensorView positions, targets;
  };

  // logits_rows: Classifier::rows_at_once.
  void declare(ParamLayout& layout, const Options& options, int64_t logits_rows);
  void tie_to(ParamId word_embedding) { classifier_.weight = word_embedding; }

  // pass.sums from hidden (M,C).
  void forward(const Pass& pass, const TensorView& hidden, const Masked& masked) const;
  // The same; dhidden (M,C) =, dword (=|+=) the head's part. Announces the head's own parameters.
  void forward_backward(const Pass& pass, const TensorView& dhidden, SummedGrad& dword, const TensorView& hidden,
                        const Masked& masked, const Classifier::LossGrad& loss_grad) const;

 private:
  HeadTransform transform_;
  Classifier classifier_;
};

}  // namespace ddp::bert
