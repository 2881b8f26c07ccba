#include "models/bert/encoder.h"

#include <fmt/core.h>

#include <utility>

namespace ddp::bert {
namespace {

constexpr uint32_t kSitesPerBlock = 3;

std::string layer_name(int64_t l) { return fmt::format("bert.encoder.layer.{}", l); }

}  // namespace

void Encoder::declare(ParamLayout& layout, const Options& options) {
  width_ = options.width;
  blocks_.resize(size_t(options.layers));
  out_.eps = float(options.norm_eps);
  for (int64_t l = options.layers - 1; l >= 0; --l) {
    Block& block = blocks_[size_t(l)];
    block.is_first = l == 0;
    block.recompute = options.recompute;
    block.first_site = uint32_t(l) * kSitesPerBlock;
    block.attention.heads = options.heads;
    block.attention.site = block.first_site + 1;
    LayerNorm& after = l + 1 == options.layers ? out_ : blocks_[size_t(l + 1)].in;
    after.declare(layout, layer_name(l) + ".output.LayerNorm", width_);
    block.declare(layout, layer_name(l), options);
  }
  blocks_[0].in.declare(layout, "bert.embeddings.LayerNorm", width_);
  const auto table = [&](const char* name, int64_t rows, int64_t live) {
    return layout.add(fmt::format("bert.embeddings.{}.weight", name), {rows, width_}, /*decay=*/true,
                      Init::normal(kSigma), {live, width_});
  };
  type_ = table("token_type_embeddings", kTypes, kTypes);
  position_ = table("position_embeddings", options.positions, options.positions);
  word_ = table("word_embeddings", padded_vocab(options.vocab), options.vocab);
}

uint32_t Encoder::first_free_site() const { return uint32_t(blocks_.size()) * kSitesPerBlock + 1; }

Encoder::Activations Encoder::forward(const Pass& pass, const Text& text, bool keep) const {
  const Shape rows{text.rows(), width_};
  Activations a;
  if (keep) a.blocks.reserve(blocks_.size());
  ArenaTensor stream_kept;  // where the block that wrote it does not keep it
  TensorView stream;        // without the last block's branch
  ArenaTensor branch;
  for (const Block& block : blocks_) {
    BlockSaved saved;
    if (block.is_first) {
      saved.in.residual = pass.take(rows, "embedding");
      stream = saved.in.residual;
      embedding_forward(pass.exec, {.out = stream.view({text.batch(), rows[0] / text.batch(), width_}),
                                    .tokens = text.tokens,
                                    .wte = pass.param(word_),
                                    .wpe = pass.param(position_),
                                    .types = text.types,
                                    .wtype = pass.param(type_)});
    }
    branch = block.forward(pass, saved, stream, branch, text.batch(), text.lengths);
    stream = saved.ln_1.out;
    if (!keep || block.forgets_output()) stream_kept = std::move(saved.ln_1.out);
    if (!keep) continue;
    block.forget(saved);
    a.blocks.push_back(std::move(saved));
  }
  out_.forward(pass, a.out, stream, branch, uint32_t(blocks_.size()) * kSitesPerBlock);
  return a;
}

void Encoder::backward(const Pass& pass, Activations activations, ArenaTensor dout, SummedGrad& dword,
                       const Text& text) const {
  const Shape rows{text.rows(), width_};
  ResidualGrad grad{.stream = std::move(dout), .masked = {}};
  if (pass.dropout.p > 0) grad.masked = pass.take(rows, "dbranch");
  post_norm_backward(pass, out_, activations.out, grad, uint32_t(blocks_.size()) * kSitesPerBlock);
  for (size_t l = blocks_.size(); l-- > 0;)
    blocks_[l].backward(pass, activations.blocks[l], grad, text.batch(), text.lengths);

  SummedGrad dtype(pass, type_);
  if (!pass.accumulate) pass.exec.stream->zero(dtype.view());
  embedding_backward(pass.exec, {.dwte = dword.view(),
                                 .dwpe = pass.grad(position_),
                                 .dwtype = dtype.view(),
                                 .dout = grad.stream.view().view({text.batch(), rows[0] / text.batch(), width_}),
                                 .tokens = text.tokens,
                                 .types = text.types,
                                 .order = text.order,
                                 .accumulate = pass.accumulate});
  dtype.finish();
  pass.announce(type_);
  pass.announce(position_);
  dword.finish();
  pass.announce(word_);
}

}  // namespace ddp::bert
