// A transformer block of BERT, post-norm, in the order in which memory is read: it begins with the norm that ends the
// block before it, or with the embedding's.
//   x = in(r + drop(branch))          the block before left r and branch; of the first, x = drop(in(embedding))
//   h = ln_1(x + drop(attention(x) W + b))
//   branch = gelu(h W_fc + b) W_proj + b
// The block leaves (h, branch): the addition belongs to the next norm, which does both in one pass.
#pragma once

#include <string>

#include "models/bert/options/options.h"
#include "models/layers/layer_norm.h"
#include "models/layers/mlp.h"
#include "models/layers/self_attention.h"

namespace ddp::bert {

// M = B * T rows of C. Backward finds some of them empty, by `recompute`.
struct BlockSaved {
  LayerNorm::Saved in, ln_1;  // (M,C) each: input and output, x and h
  SelfAttention::Saved attention;
  Mlp::Saved mlp;
};

struct Block {
  LayerNorm in, ln_1;
  SelfAttention attention;
  Mlp mlp;
  bool is_first = false;
  TransformerRecompute recompute = TransformerRecompute::none;
  // Dropout sites: + 0 the branch before, of the first block x; + 1 attention (attention.site), + 2 its branch.
  uint32_t first_site = 0;

  // All but `in`, in backward order.
  void declare(ParamLayout& layout, const std::string& name, const Options& options);
  // From (residual, branch) to (saved.ln_1.out, returned branch (M,C)). Of the first block residual is the embedding,
  // which the caller has put into saved.in.residual, and branch is empty. lengths: of the B samples, (B) i32 or empty.
  ArenaTensor forward(const Pass& pass, BlockSaved& saved, const TensorView& residual, const TensorView& branch,
                      int64_t batch, const TensorView& lengths) const;
  // Returns to the arena what backward computes again, but for saved.ln_1.out: the next norm reads it.
  void forget(BlockSaved& saved) const;
  // Whether backward computes h again, so that the caller may let it go once the next norm has read it.
  bool forgets_output() const {
    return recompute == TransformerRecompute::gelu_ln || recompute == TransformerRecompute::block;
  }
  // On entry `grad` is the gradient of h and of branch, on return that of r and of the branch of the block before; of
  // the first block, of the embedding. Each tensor of `saved` goes back to the arena after its last use.
  void backward(const Pass& pass, BlockSaved& saved, ResidualGrad& grad, int64_t batch,
                const TensorView& lengths) const;

 private:
  void drop_first(const Pass& pass, const TensorView& x) const;  // x = its dropout, in the first block
  void in_forward_again(const Pass& pass, BlockSaved& saved) const;
  // Fills the rest of `saved` from saved.in: in forward, and again in backward with TransformerRecompute::block.
  void inner_forward(const Pass& pass, BlockSaved& saved, int64_t batch, const TensorView& lengths) const;
};

// Of a post-norm, whose input is the residual stream itself: from the gradient of its output in grad.stream to that of
// its input, and of the branch that was added to it at `site`.
void post_norm_backward(const Pass& pass, const LayerNorm& norm, LayerNorm::Saved& saved, ResidualGrad& grad,
                        uint32_t site);

// The initial deviation of every weight.
inline constexpr double kSigma = 0.02;

}  // namespace ddp::bert
