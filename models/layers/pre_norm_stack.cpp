#include "models/layers/pre_norm_stack.h"

#include <cmath>
#include <utility>

namespace ddp {
namespace {

constexpr uint32_t kSitesPerBlock = 3;

}  // namespace

void PreNormStack::declare(ParamLayout& layout, const Form& form) {
  norm_.eps = form.eps;
  norm_.declare(layout, form.norm_name, form.width);
  blocks_.resize(size_t(form.layers));
  last_site_ = form.first_site + uint32_t(form.layers) * kSitesPerBlock;
  for (int64_t l = form.layers - 1; l >= 0; --l) {
    PreNormBlock& block = blocks_[size_t(l)];
    block.is_first = l == 0;
    block.recompute = form.recompute;
    block.first_site = form.first_site + uint32_t(l) * kSitesPerBlock;
    block.ln_1.eps = block.ln_2.eps = form.eps;
    block.attention.heads = form.heads;
    block.attention.causal = form.causal;
    block.attention.site = block.first_site + 1;
    block.mlp.width = form.mlp_width;
    block.mlp.activation = form.activation;
    for (Linear* linear : {&block.attention.qkv, &block.attention.proj, &block.mlp.fc, &block.mlp.proj})
      linear->order = form.order;
    block.declare(layout, form.block_name + std::to_string(l), form.names, form.width, form.sigma,
                  form.sigma / std::sqrt(2.0 * double(form.layers)));
  }
}

PreNormStack::Activations PreNormStack::forward(const Pass& pass, ArenaTensor embedding, int64_t batch,
                                                bool keep) const {
  Activations a;
  ArenaTensor residual = std::move(embedding);
  TensorView stream = residual;  // the residual stream, without the last block's branch
  ArenaTensor branch;
  if (keep) a.blocks.reserve(blocks_.size());
  for (const PreNormBlock& block : blocks_) {
    PreNormBlock::Saved saved;
    if (block.is_first) saved.ln_1.residual = std::move(residual);
    branch = block.forward(pass, saved, stream, branch, batch);
    stream = saved.ln_2.residual;
    if (!keep || block.recompute == TransformerRecompute::block) residual = std::move(saved.ln_2.residual);
    if (!keep) continue;
    block.forget(saved);
    a.blocks.push_back(std::move(saved));
  }
  norm_.forward(pass, a.norm, stream, branch, last_site_);
  return a;
}

ArenaTensor PreNormStack::backward(const Pass& pass, Activations activations, ArenaTensor dout, int64_t batch) const {
  ResidualGrad grad{.stream = pass.take(dout.view().shape, "dresidual"), .masked = {}};
  if (pass.dropout.p > 0) grad.masked = pass.take(dout.view().shape, "dbranch");
  norm_.backward(pass, activations.norm, grad.stream, grad.masked, dout, /*add=*/false, last_site_);
  activations.norm = {};
  dout.release();
  for (size_t l = blocks_.size(); l-- > 0;) blocks_[l].backward(pass, activations.blocks[l], grad, batch);
  return std::move(grad.stream);
}

}  // namespace ddp
