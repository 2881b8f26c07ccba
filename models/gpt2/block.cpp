#include "models/gpt2/block.h"

namespace ddp::gpt2 {

void Block::declare(ParamLayout& layout, const std::string& name, int64_t width, double sigma, double residual_sigma) {
  fc_proj.declare(layout, name + ".mlp.c_proj", 4 * width, width, residual_sigma);
  fc.declare(layout, name + ".mlp.c_fc", width, 4 * width, sigma);
  ln_2.declare(layout, name + ".ln_2", width);
  attn_proj.declare(layout, name + ".attn.c_proj", width, width, residual_sigma);
  attn.declare(layout, name + ".attn.c_attn", width, 3 * width, sigma);
  ln_1.declare(layout, name + ".ln_1", width);
}

ArenaTensor Block::forward(const Pass& pass, BlockSaved& saved, const TensorView& residual, const TensorView& branch,
                           int64_t batch) const {
  ln_1.forward(pass, saved.ln_1, residual, branch, first_site);
  inner_forward(pass, saved, batch);
  ArenaTensor branch2 = pass.take(residual.shape, "branch");
  fc_proj.forward(pass, branch2, saved.gelu);
  return branch2;
}

void Block::inner_forward(const Pass& pass, BlockSaved& saved, int64_t batch) const {
  const TensorView residual = saved.ln_1.residual;
  const int64_t m = residual.dim(0), c = residual.dim(1), t = m / batch;

  saved.qkv = pass.take({batch, t, 3 * c}, "qkv");
  attn.forward(pass, saved.qkv.view().view({m, 3 * c}), saved.ln_1.out);
  saved.lse = pass.take_wide({batch, heads, t}, "lse");
  saved.att = pass.take({batch, t, c}, "attention");
  attention_forward(pass.exec, {.out = saved.att,
                                .lse = saved.lse,
                                .qkv = saved.qkv,
                                .heads = heads,
                                .dropout = pass.dropout_at(first_site + 1)});
  {
    const ArenaTensor branch1 = pass.take({m, c}, "branch");
    attn_proj.forward(pass, branch1, saved.att.view().view({m, c}));
    ln_2.forward(pass, saved.ln_2, residual, branch1, first_site + 2);
  }
  saved.fc = pass.take({m, 4 * c}, "fc");
  fc.forward(pass, saved.fc, saved.ln_2.out);
  gelu(pass, saved);
}

void Block::gelu(const Pass& pass, BlockSaved& saved) const {
  saved.gelu = pass.take(saved.fc.view().shape, "gelu");
  gelu_forward(pass.exec, {.y = saved.gelu, .x = saved.fc});
}

void Block::forget(BlockSaved& saved) const {
  if (recompute == Recompute::none) return;
  saved.gelu.release();
  if (recompute == Recompute::gelu) return;
  saved.ln_1.out.release();
  saved.ln_2.out.release();
  if (recompute == Recompute::gelu_ln) return;
  saved.qkv.release();
  saved.lse.release();
  saved.att.release();
  saved.fc.release();
  saved.ln_2 = {};
}

void Block::backward(const Pass& pass, BlockSaved& saved, ResidualGrad& grad, int64_t batch) const {
  const TensorView residual = saved.ln_1.residual;
  const int64_t m = residual.dim(0), c = residual.dim(1), t = m / batch;

  if (recompute == Recompute::block) {
    ln_1.forward_again(pass, saved.ln_1);
    inner_forward(pass, saved, batch);
  } else if (recompute != Recompute::none) {
    gelu(pass, saved);
  }
  // branch2 = gelu(fc) W + b. gelu is needed for dW only, so its gradient, and then fc's, take its place.
  fc_proj.backward_weight(pass, saved.gelu, grad.branch());
  const TensorView dfc = saved.gelu;
  fc_proj.backward_input(pass, dfc, grad.branch());
  gelu_backward(pass.exec, {.dx = dfc, .dy = dfc, .x = saved.fc});
  saved.fc.release();
  if (recompute == Recompute::gelu_ln) ln_2.forward_again(pass, saved.ln_2);
  fc.backward_weight(pass, saved.ln_2.out, dfc);
  saved.ln_2.out.release();
  {
    const ArenaTensor dln = pass.take({m, c}, "dlayernorm");
    fc.backward_input(pass, dln, dfc);
    saved.gelu.release();
    ln_2.backward(pass, saved.ln_2, grad.stream, grad.masked, dln, /*add=*/true, first_site + 2);
    saved.ln_2 = {};
  }

  // branch1 = attention(qkv) W + b
  attn_proj.backward_weight(pass, saved.att.view().view({m, c}), grad.branch());
  const ArenaTensor dqkv = pass.take({batch, t, 3 * c}, "dqkv");
  {
    const ArenaTensor datt = pass.take({batch, t, c}, "dattention");
    attn_proj.backward_input(pass, datt.view().view({m, c}), grad.branch());
    const ArenaTensor workspace =
        pass.arena.take({attention_workspace(batch, t, heads)}, "attention workspace", DType::u8);
    attention_backward(pass.exec, {.dqkv = dqkv,
                                   .dout = datt,
                                   .out = saved.att,
                                   .qkv = saved.qkv,
                                   .lse = saved.lse,
                                   .workspace = workspace,
                                   .heads = heads,
                                   .dropout = pass.dropout_at(first_site + 1)});
  }
  saved.att.release();
  saved.lse.release();
  saved.qkv.release();
  const TensorView dqkv_rows = dqkv.view().view({m, 3 * c});
  if (recompute == Recompute::gelu_ln) ln_1.forward_again(pass, saved.ln_1);
  attn.backward_weight(pass, saved.ln_1.out, dqkv_rows);
  saved.ln_1.out.release();
  const ArenaTensor dln = pass.take({m, c}, "dlayernorm");
  attn.backward_input(pass, dln, dqkv_rows);
  const TensorView masked = is_first ? TensorView() : grad.masked.view();  // nothing was added before the first block
  ln_1.backward(pass, saved.ln_1, grad.stream, masked, dln, /*add=*/true, first_site);
  saved.ln_1 = {};
}

}  // namespace ddp::gpt2
