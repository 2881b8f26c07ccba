#include "models/gpt2/gpt2.h"

#include <cmath>

#include "models/layers/summed_grad.h"
#include "models/layers/token_order.h"

namespace ddp::gpt2 {
namespace {

// Dropout sites: the embedding's, then kSitesPerBlock for each block, then the last block's branch at the final norm.
constexpr uint32_t kEmbeddingSite = 0, kFirstBlockSite = 1, kSitesPerBlock = 3;

constexpr double kSigma = 0.02;  // of all weights but the residual projections

}  // namespace

Gpt2::Gpt2(const Options& options, int64_t logits_rows)
    : options_(options),
      inputs_{{.name = "tokens", .sample = {options.context}, .limit = options.vocab},
              {.name = "targets", .sample = {options.context}, .limit = options.vocab, .is_target = true},
              token_order(options.context)},
      blocks_(size_t(options.layers)) {
  const int64_t c = options.width, rows = padded_vocab();
  // Backward order. The tied embedding comes last: its classifier part is ready first, but its lookup part is last of
  // all.
  if (!options.tie_embeddings)
    head_.weight = layout_.add("lm_head.weight", {rows, c}, true, Init::normal(kSigma), {options.vocab, c});
  ln_f_.declare(layout_, "ln_f", c);
  for (int64_t l = options.layers - 1; l >= 0; --l) {
    Block& block = blocks_[size_t(l)];
    block.is_first = l == 0;
    block.recompute = options.recompute;
    block.first_site = kFirstBlockSite + uint32_t(l) * kSitesPerBlock;
    block.attn.heads = options.heads;
    block.attn.site = block.first_site + 1;
    block.declare(layout_, fmt::format("h.{}", l), c, kSigma, kSigma / std::sqrt(2.0 * double(options.layers)));
  }
  wpe_ = layout_.add("wpe.weight", {options.context, c}, true, Init::normal(kSigma));
  wte_ = layout_.add("wte.weight", {rows, c}, true, Init::normal(kSigma), {options.vocab, c});
  if (options.tie_embeddings) head_.weight = wte_;
  head_.live_columns = options.vocab;
  head_.rows_at_once = logits_rows;
  layout_.set_saved_names(saved_names(options));
}

uint32_t Gpt2::last_site() const { return kFirstBlockSite + uint32_t(options_.layers) * kSitesPerBlock; }

Gpt2::Activations Gpt2::forward(const Pass& pass, const TensorView& tokens, bool keep) const {
  const int64_t batch = tokens.dim(0), t = tokens.dim(1), m = batch * t, c = options_.width;
  Activations a;
  ArenaTensor residual = pass.take({m, c}, "embedding");
  embedding_forward(pass.exec, {.out = residual.view().view({batch, t, c}),
                                .tokens = tokens,
                                .wte = pass.param(wte_),
                                .wpe = pass.param(wpe_),
                                .dropout = pass.dropout_at(kEmbeddingSite)});
  TensorView stream = residual;  // the residual stream, without the last block's branch
  ArenaTensor branch;
  if (keep) a.blocks.reserve(blocks_.size());
  for (const Block& block : blocks_) {
    BlockSaved saved;
    if (block.is_first) saved.ln_1.residual = std::move(residual);
    branch = block.forward(pass, saved, stream, branch, batch);
    stream = saved.ln_2.residual;
    if (!keep || block.recompute == Recompute::block) residual = std::move(saved.ln_2.residual);
    if (!keep) continue;
    block.forget(saved);
    a.blocks.push_back(std::move(saved));
  }
  ln_f_.forward(pass, a.ln_f, stream, branch, last_site());
  return a;
}

void Gpt2::train(const Exec& exec, Arena& arena, const TrainPass& args) const {
  const TensorView tokens = args.batch["tokens"];
  const int64_t batch = tokens.dim(0), t = tokens.dim(1), m = batch * t, c = options_.width;
  const Pass pass = Pass::of(exec, arena, *this, args, options_.dropout);
  Activations a = forward(pass, tokens, /*keep=*/true);

  ResidualGrad grad;
  SummedGrad dhead(pass, head_.weight);
  {
    const ArenaTensor dln_f = pass.take({m, c}, "dlayernorm");
    head_.forward_backward(pass, {.dx = dln_f, .dw = dhead.view()}, a.ln_f.out, args.batch["targets"].view({m}),
                           {args.grad_scale, args.loss_scale});
    if (!options_.tie_embeddings) {
      dhead.finish();
      pass.announce(head_.weight);
    }
    grad.stream = pass.take({m, c}, "dresidual");
    if (options_.dropout > 0.0) grad.masked = pass.take({m, c}, "dbranch");
    ln_f_.backward(pass, a.ln_f, grad.stream, grad.masked, dln_f, /*add=*/false, last_site());
    a.ln_f = {};
  }
  for (int64_t l = options_.layers - 1; l >= 0; --l)
    blocks_[size_t(l)].backward(pass, a.blocks[size_t(l)], grad, batch);

  SummedGrad dwte = options_.tie_embeddings ? std::move(dhead) : SummedGrad(pass, wte_);
  if (!options_.tie_embeddings && !pass.accumulate) exec.stream->zero(dwte.view());
  embedding_backward(exec, {.dwte = dwte.view(),
                            .dwpe = pass.grad(wpe_),
                            .dout = grad.stream.view().view({batch, t, c}),
                            .tokens = tokens,
                            .order = args.batch["order"].view({m}),
                            .accumulate = pass.accumulate,
                            .dropout = pass.dropout_at(kEmbeddingSite)});
  pass.announce(wpe_);
  dwte.finish();
  pass.announce(wte_);
}

void Gpt2::evaluate(const Exec& exec, Arena& arena, const EvalPass& args) const {
  const Pass pass = Pass::of(exec, arena, *this, args);
  const Activations a = forward(pass, args.batch["tokens"], /*keep=*/false);
  const TensorView targets = args.batch["targets"];
  head_.forward(pass, a.ln_f.out, targets.view({targets.numel()}));
}

void Gpt2::generate(const Exec& exec, Arena& arena, const GeneratePass& args) const {
  const Pass pass{.exec = exec, .arena = arena, .layout = layout_, .params = args.params, .dropout = {}};
  const Activations a = forward(pass, args.tokens, /*keep=*/false);
  linear_forward(exec, {.y = args.logits,
                        .x = a.ln_f.out.view().rows(args.position, 1),
                        .w = pass.param(head_.weight),
                        .bias = {},
                        .w_transposed = true});
}

}  // namespace ddp::gpt2
