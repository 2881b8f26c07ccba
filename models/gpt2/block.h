// A transformer block of GPT-2, pre-norm:
//   r1 = r + drop(branch)     the branch of the block before, or nothing after the embedding
//   att = attention(ln_1(r1) W_attn + b)        branch1 = att W_proj + b
//   r2 = r1 + drop(branch1)
//   fc = ln_2(r2) W_fc + b                      branch2 = gelu(fc) W_proj2 + b
// The block leaves (r2, branch2): the addition belongs to the next norm, which does both in one pass.
#pragma once

#include <string>

#include "models/gpt2/options/options.h"
#include "models/layers/layer_norm.h"
#include "models/layers/mlp.h"
#include "models/layers/self_attention.h"

namespace ddp::gpt2 {

// M = B * T rows of C. Backward finds some of them empty, by Recompute.
struct BlockSaved {
  LayerNorm::Saved ln_1, ln_2;  // (M,C) each: input and output
  SelfAttention::Saved attn;
  Mlp::Saved mlp;
};

struct Block {
  LayerNorm ln_1, ln_2;
  SelfAttention attn;
  Mlp mlp;
  bool is_first = false;
  Recompute recompute = Recompute::none;
  uint32_t first_site = 0;  // dropout sites: + 0 branch before, + 1 attention (attn.site), + 2 attention's branch

  // In backward order. Weights are N(0, sigma), those of the projections into the residual N(0, residual_sigma).
  void declare(ParamLayout& layout, const std::string& name, int64_t width, double sigma, double residual_sigma);
  // From (residual, branch) to (saved.ln_2.residual, returned branch (M,C)). batch: B, for the (B,T,...) views.
  ArenaTensor forward(const Pass& pass, BlockSaved& saved, const TensorView& residual, const TensorView& branch,
                      int64_t batch) const;
  // Returns to the arena what backward computes again. With Recompute::block that is saved.ln_2.residual too, unless
  // the caller has moved it out: the next norm reads it.
  void forget(BlockSaved& saved) const;
  // On entry `grad` is the gradient of (r2 + branch2), on return that of r1 and of the branch of the block before. Each
  // tensor of `saved` goes back to the arena after its last use.
  void backward(const Pass& pass, BlockSaved& saved, ResidualGrad& grad, int64_t batch) const;

 private:
  // Fills the rest of `saved` from saved.ln_1: in forward, and again in backward with Recompute::block.
  void inner_forward(const Pass& pass, BlockSaved& saved, int64_t batch) const;
};

}  // namespace ddp::gpt2
