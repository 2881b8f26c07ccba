#include "models/bert/block.h"

#include <utility>

namespace ddp::bert {

void Block::declare(ParamLayout& layout, const std::string& name, const Options& options) {
  const int64_t width = options.width;
  mlp.width = mlp_width_of(options);
  mlp.activation = options.activation;
  attention.causal = false;
  for (Linear* linear : {&mlp.proj, &mlp.fc, &attention.proj, &attention.qkv}) linear->order = WeightOrder::out_in;
  in.eps = ln_1.eps = float(options.norm_eps);

  mlp.proj.declare(layout, name + ".output.dense", mlp.width, width, kSigma);
  mlp.fc.declare(layout, name + ".intermediate.dense", width, mlp.width, kSigma);
  ln_1.declare(layout, name + ".attention.output.LayerNorm", width);
  attention.proj.declare(layout, name + ".attention.output.dense", width, width, kSigma);
  attention.qkv.declare(layout, name + ".attention.self.qkv", width, 3 * width, kSigma);
}

void Block::drop_first(const Pass& pass, const TensorView& x) const {
  if (is_first && pass.dropout.p > 0)
    apply_dropout(pass.exec, {.y = x, .x = x, .dropout = pass.dropout_at(first_site)});
}

void Block::in_forward_again(const Pass& pass, BlockSaved& saved) const {
  in.forward_again(pass, saved.in);
  drop_first(pass, saved.in.out);
}

ArenaTensor Block::forward(const Pass& pass, BlockSaved& saved, const TensorView& residual, const TensorView& branch,
                           int64_t batch, const TensorView& lengths) const {
  in.forward(pass, saved.in, residual, branch, first_site);
  drop_first(pass, saved.in.out);
  inner_forward(pass, saved, batch, lengths);
  ArenaTensor branch2 = pass.take(residual.shape, "branch");
  mlp.proj.forward(pass, branch2, saved.mlp.gelu);
  return branch2;
}

void Block::inner_forward(const Pass& pass, BlockSaved& saved, int64_t batch, const TensorView& lengths) const {
  const TensorView x = saved.in.out;
  {
    const ArenaTensor branch1 = pass.take(x.shape, "branch");
    attention.forward(pass, saved.attention, branch1, x, batch, lengths);
    ln_1.forward(pass, saved.ln_1, x, branch1, first_site + 2);
  }
  mlp.inner_forward(pass, saved.mlp, saved.ln_1.out);
}

void Block::forget(BlockSaved& saved) const {
  if (recompute == TransformerRecompute::none) return;
  saved.mlp.gelu.release();
  if (recompute == TransformerRecompute::gelu) return;
  saved.in.out.release();
  if (recompute == TransformerRecompute::gelu_ln) return;
  saved.attention = {};
  saved.mlp = {};
  saved.ln_1.residual.release();
  saved.ln_1.mean.release();
  saved.ln_1.rstd.release();
}

void Block::backward(const Pass& pass, BlockSaved& saved, ResidualGrad& grad, int64_t batch,
                     const TensorView& lengths) const {
  if (recompute == TransformerRecompute::block) {
    in_forward_again(pass, saved);
    inner_forward(pass, saved, batch, lengths);
  } else if (recompute != TransformerRecompute::none) {
    mlp.gelu_again(pass, saved.mlp);
  }
  {
    const ArenaTensor dfc = mlp.backward(pass, saved.mlp, grad.branch());
    if (recompute == TransformerRecompute::gelu_ln) ln_1.forward_again(pass, saved.ln_1);
    mlp.fc.backward_weight(pass, saved.ln_1.out, dfc);
    saved.ln_1.out.release();
    mlp.fc.backward_input(pass, grad.stream, dfc, /*add=*/true);
  }
  post_norm_backward(pass, ln_1, saved.ln_1, grad, first_site + 2);
  {
    const ArenaTensor dqkv = attention.backward(pass, saved.attention, grad.branch(), batch, lengths);
    if (recompute == TransformerRecompute::gelu_ln) in_forward_again(pass, saved);
    attention.qkv.backward_weight(pass, saved.in.out, dqkv);
    saved.in.out.release();
    attention.qkv.backward_input(pass, grad.stream, dqkv, /*add=*/true);
  }
  if (is_first) grad.masked.release();  // nothing was added before the first block
  drop_first(pass, grad.stream);
  post_norm_backward(pass, in, saved.in, grad, first_site);
}

void post_norm_backward(const Pass& pass, const LayerNorm& norm, LayerNorm::Saved& saved, ResidualGrad& grad,
                        uint32_t site) {
  ArenaTensor dx = pass.take(grad.stream.view().shape, "dresidual");
  norm.backward(pass, saved, dx, grad.masked, grad.stream, /*add=*/false, site);
  grad.stream = std::move(dx);
  saved = {};
}

}  // namespace ddp::bert
