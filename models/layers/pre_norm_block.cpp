#include "models/layers/pre_norm_block.h"

namespace ddp {

void PreNormBlock::declare(ParamLayout& layout, const std::string& name, const Names& names, int64_t width,
                           double sigma, double residual_sigma) {
  const std::string prefix = name + ".";
  mlp.proj.declare(layout, prefix + names.mlp_proj, mlp.width, width, residual_sigma);
  mlp.fc.declare(layout, prefix + names.fc, width, mlp.width, sigma);
  ln_2.declare(layout, prefix + names.ln_2, width);
  attention.proj.declare(layout, prefix + names.attention_proj, width, width, residual_sigma);
  attention.qkv.declare(layout, prefix + names.qkv, width, 3 * width, sigma);
  ln_1.declare(layout, prefix + names.ln_1, width);
}

ArenaTensor PreNormBlock::forward(const Pass& pass, Saved& saved, const TensorView& residual, const TensorView& branch,
                                  int64_t batch) const {
  ln_1.forward(pass, saved.ln_1, residual, branch, first_site);
  inner_forward(pass, saved, batch);
  ArenaTensor branch2 = pass.take(residual.shape, "branch");
  mlp.proj.forward(pass, branch2, saved.mlp.gelu);
  return branch2;
}

void PreNormBlock::inner_forward(const Pass& pass, Saved& saved, int64_t batch) const {
  const TensorView residual = saved.ln_1.residual;
  {
    const ArenaTensor branch1 = pass.take(residual.shape, "branch");
    attention.forward(pass, saved.attention, branch1, saved.ln_1.out, batch, /*lengths=*/{});
    ln_2.forward(pass, saved.ln_2, residual, branch1, first_site + 2);
  }
  mlp.inner_forward(pass, saved.mlp, saved.ln_2.out);
}

void PreNormBlock::forget(Saved& saved) const {
  if (recompute == TransformerRecompute::none) return;
  saved.mlp.gelu.release();
  if (recompute == TransformerRecompute::gelu) return;
  saved.ln_1.out.release();
  saved.ln_2.out.release();
  if (recompute == TransformerRecompute::gelu_ln) return;
  saved.attention = {};
  saved.mlp = {};
  saved.ln_2 = {};
}

void PreNormBlock::backward(const Pass& pass, Saved& saved, ResidualGrad& grad, int64_t batch) const {
  const Shape shape = saved.ln_1.residual.view().shape;
  if (recompute == TransformerRecompute::block) {
    ln_1.forward_again(pass, saved.ln_1);
    inner_forward(pass, saved, batch);
  } else if (recompute != TransformerRecompute::none) {
    mlp.gelu_again(pass, saved.mlp);
  }
  {
    ArenaTensor dfc = mlp.backward(pass, saved.mlp, grad.branch());
    if (recompute == TransformerRecompute::gelu_ln) ln_2.forward_again(pass, saved.ln_2);
    mlp.fc.backward_weight(pass, saved.ln_2.out, dfc);
    saved.ln_2.out.release();
    const ArenaTensor dln = pass.take(shape, "dlayernorm");
    mlp.fc.backward_input(pass, dln, dfc);
    dfc.release();
    ln_2.backward(pass, saved.ln_2, grad.stream, grad.masked, dln, /*add=*/true, first_site + 2);
    saved.ln_2 = {};
  }

  const ArenaTensor dqkv = attention.backward(pass, saved.attention, grad.branch(), batch, /*lengths=*/{});
  if (recompute == TransformerRecompute::gelu_ln) ln_1.forward_again(pass, saved.ln_1);
  attention.qkv.backward_weight(pass, saved.ln_1.out, dqkv);
  saved.ln_1.out.release();
  const ArenaTensor dln = pass.take(shape, "dlayernorm");
  attention.qkv.backward_input(pass, dln, dqkv);
  const TensorView masked = is_first ? TensorView() : grad.masked.view();  // nothing was added before the first block
  ln_1.backward(pass, saved.ln_1, grad.stream, masked, dln, /*add=*/true, first_site);
  saved.ln_1 = {};
}

}  // namespace ddp
