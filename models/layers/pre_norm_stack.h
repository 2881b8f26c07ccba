// Pre-norm blocks, one after another, and the norm behind them.
#pragma once

#include <string>
#include <vector>

#include "models/layers/pre_norm_block.h"

namespace ddp {

class PreNormStack {
 public:
  struct Form {
    int64_t layers = 1, heads = 1, width = 1;
    bool causal = true;
    int64_t mlp_width = 4;
    Activation activation = Activation::gelu_new;
    WeightOrder order = WeightOrder::in_out;
    float eps = 1e-5f;    // of the norms
    double sigma = 0.02;  // of the initial weights; of the projections into the residual sigma / sqrt(2 layers)
    TransformerRecompute recompute = TransformerRecompute::none;
    uint32_t first_site = 0;  // of dropout
    std::string block_name;   // before a block's number
    PreNormBlock::Names names;
    std::string norm_name;  // of the last norm
  };
  // What forward leaves behind: the blocks' saved tensors where they are kept, and the last norm's.
  struct Activations {
    std::vector<PreNormBlock::Saved> blocks;
    LayerNorm::Saved norm;  // norm.out (M,C) is the output
  };

  // In backward order.
  void declare(ParamLayout& layout, const Form& form);
  // From the embedding (M,C) of B samples. keep: for backward.
  Activations forward(const Pass& pass, ArenaTensor embedding, int64_t batch, bool keep) const;
  // From dout (M,C), the gradient of the output, to that of the embedding. Announces all parameters.
  ArenaTensor backward(const Pass& pass, Activations activations, ArenaTensor dout, int64_t batch) const;

 private:
  std::vector<PreNormBlock> blocks_;
  LayerNorm norm_;
  uint32_t last_site_ = 0;  // dropout of the last block's branch, added at the last norm
};

}  // namespace ddp
