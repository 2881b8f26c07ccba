#include "models/gpt2/block.h"

namespace ddp::gpt2 {

void Block::declare(ParamLayout& layout, const std::string& name, int64_t width, double sigma, double residual_sigma) {
  mlp.proj.declare(layout, name + ".mlp.c_proj", 4 * width, width, residual_sigma);
  mlp.fc.declare(layout, name + ".mlp.c_fc", width, 4 * width, sigma);
  ln_2.declare(layout, name + ".ln_2", width);
  attn.proj.declare(layout, name + ".attn.c_proj", width, width, residual_sigma);
  attn.qkv.declare(layout, name + ".attn.c_attn", width, 3 * width, sigma);
  ln_1.declare(layout, name + ".ln_1", width);
}

ArenaTensor Block::forward(const Pass& pass, BlockSaved& saved, const TensorView& residual, const TensorView& branch,
                           int64_t batch) const {
  ln_1.forward(pass, saved.ln_1, residual, branch, first_site);
  inner_forward(pass, saved, batch);
  ArenaTensor branch2 = pass.take(residual.shape, "branch");
  mlp.proj.forward(pass, branch2, saved.mlp.gelu);
  return branch2;
}

void Block::inner_forward(const Pass& pass, BlockSaved& saved, int64_t batch) const {
  const TensorView residual = saved.ln_1.residual;
  {
    const ArenaTensor branch1 = pass.take(residual.shape, "branch");
    attn.forward(pass, saved.attn, branch1, saved.ln_1.out, batch, /*lengths=*/{});
    ln_2.forward(pass, saved.ln_2, residual, branch1, first_site + 2);
  }
  mlp.inner_forward(pass, saved.mlp, saved.ln_2.out);
}

void Block::forget(BlockSaved& saved) const {
  if (recompute == Recompute::none) return;
  saved.mlp.gelu.release();
  if (recompute == Recompute::gelu) return;
  saved.ln_1.out.release();
  saved.ln_2.out.release();
  if (recompute == Recompute::gelu_ln) return;
  saved.attn = {};
  saved.mlp = {};
  saved.ln_2 = {};
}

void Block::backward(const Pass& pass, BlockSaved& saved, ResidualGrad& grad, int64_t batch) const {
  const Shape shape = saved.ln_1.residual.view().shape;
  if (recompute == Recompute::block) {
    ln_1.forward_again(pass, saved.ln_1);
    inner_forward(pass, saved, batch);
  } else if (recompute != Recompute::none) {
    mlp.gelu_again(pass, saved.mlp);
  }
  {
    ArenaTensor dfc = mlp.backward(pass, saved.mlp, grad.branch());
    if (recompute == Recompute::gelu_ln) ln_2.forward_again(pass, saved.ln_2);
    mlp.fc.backward_weight(pass, saved.ln_2.out, dfc);
    saved.ln_2.out.release();
    const ArenaTensor dln = pass.take(shape, "dlayernorm");
    mlp.fc.backward_input(pass, dln, dfc);
    dfc.release();
    ln_2.backward(pass, saved.ln_2, grad.stream, grad.masked, dln, /*add=*/true, first_site + 2);
    saved.ln_2 = {};
  }

  const ArenaTensor dqkv = attn.backward(pass, saved.attn, grad.branch(), batch, /*lengths=*/{});
  if (recompute == Recompute::gelu_ln) ln_1.forward_again(pass, saved.ln_1);
  attn.qkv.backward_weight(pass, saved.ln_1.out, dqkv);
  saved.ln_1.out.release();
  const ArenaTensor dln = pass.take(shape, "dlayernorm");
  attn.qkv.backward_input(pass, dln, dqkv);
  const TensorView masked = is_first ? TensorView() : grad.masked.view();  // nothing was added before the first block
  ln_1.backward(pass, saved.ln_1, grad.stream, masked, dln, /*add=*/true, first_site);
  saved.ln_1 = {};
}

}  // namespace ddp::gpt2
