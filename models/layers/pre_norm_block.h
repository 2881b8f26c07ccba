// A transformer block whose norms stand before its branches (GPT-2, ViT):
//   r1 = r + drop(branch)     the branch of the block before, or nothing after the embedding
//   branch1 = attention(ln_1(r1) W + b) W + b
//   r2 = r1 + drop(branch1)
//   branch2 = gelu(ln_2(r2) W + b) W + b
// The block leaves (r2, branch2): the addition belongs to the next norm, which does both in one pass.
#pragma once

#include <string>

#include "models/layers/layer_norm.h"
#include "models/layers/mlp.h"
#include "models/layers/self_attention.h"
#include "models/transformer_options.h"

namespace ddp {

struct PreNormBlock {
  LayerNorm ln_1, ln_2;
  SelfAttention attention;
  Mlp mlp;
  bool is_first = false;
  TransformerRecompute recompute = TransformerRecompute::none;
  uint32_t first_site = 0;  // dropout sites: + 0 branch before, + 1 attention (attention.site), + 2 its branch

  // What its parameters are called, behind the block's own name and a dot.
  struct Names {
    std::string ln_1, qkv, attention_proj, ln_2, fc, mlp_proj;
  };
  // M = B * T rows of C. Backward finds some of them empty, by `recompute`.
  struct Saved {
    LayerNorm::Saved ln_1, ln_2;  // (M,C) each: input and output
    SelfAttention::Saved attention;
    Mlp::Saved mlp;
  };

  // In backward order. Weights are N(0, sigma), those of the projections into the residual N(0, residual_sigma).
  void declare(ParamLayout& layout, const std::string& name, const Names& names, int64_t width, double sigma,
               double residual_sigma);
  // From (residual, branch) to (saved.ln_2.residual, returned branch (M,C)). batch: B, for the (B,T,...) views.
  ArenaTensor forward(const Pass& pass, Saved& saved, const TensorView& residual, const TensorView& branch,
                      int64_t batch) const;
  // Returns to the arena what backward computes again. With TransformerRecompute::block that is saved.ln_2.residual
  // too, unless the caller has moved it out: the next norm reads it.
  void forget(Saved& saved) const;
  // On entry `grad` is the gradient of (r2 + branch2), on return that of r1 and of the branch of the block before. Each
  // tensor of `saved` goes back to the arena after its last use.
  void backward(const Pass& pass, Saved& saved, ResidualGrad& grad, int64_t batch) const;

 private:
  // Fills the rest of `saved` from saved.ln_1: in forward, and again in backward with TransformerRecompute::block.
  void inner_forward(const Pass& pass, Saved& saved, int64_t batch) const;
};

}  // namespace ddp
