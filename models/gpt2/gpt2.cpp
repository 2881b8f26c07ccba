#include "models/gpt2/gpt2.h"

#include <utility>

#include "models/layers/summed_grad.h"
#include "models/layers/token_order.h"

namespace ddp::gpt2 {
namespace {

constexpr uint32_t kEmbeddingSite = 0, kStackSite = 1;  // of dropout

constexpr double kSigma = 0.02;  // of all weights but the residual projections

}  // namespace

Gpt2::Gpt2(const Options& options, int64_t logits_rows)
    : options_(options),
      inputs_{{.name = "tokens", .sample = {options.context}, .limit = options.vocab},
              {.name = "targets", .sample = {options.context}, .limit = options.vocab, .is_target = true},
              token_order(options.context)} {
  const int64_t c = options.width, rows = padded_vocab();
  // Backward order. The tied embedding comes last: its classifier part is ready first, but its lookup part is last of
  // all.
  if (!options.tie_embeddings)
    head_.weight = layout_.add("lm_head.weight", {rows, c}, true, Init::normal(kSigma), {options.vocab, c});
  stack_.declare(layout_, {.layers = options.layers,
                           .heads = options.heads,
                           .width = c,
                           .mlp_width = mlp_width_of(options),
                           .activation = options.activation,
                           .eps = float(options.norm_eps),
                           .sigma = kSigma,
                           .recompute = options.recompute,
                           .first_site = kStackSite,
                           .block_name = "h.",
                           .names = {.ln_1 = "ln_1",
                                     .qkv = "attn.c_attn",
                                     .attention_proj = "attn.c_proj",
                                     .ln_2 = "ln_2",
                                     .fc = "mlp.c_fc",
                                     .mlp_proj = "mlp.c_proj"},
                           .norm_name = "ln_f"});
  wpe_ = layout_.add("wpe.weight", {options.context, c}, true, Init::normal(kSigma));
  wte_ = layout_.add("wte.weight", {rows, c}, true, Init::normal(kSigma), {options.vocab, c});
  if (options.tie_embeddings) head_.weight = wte_;
  head_.live_columns = options.vocab;
  head_.rows_at_once = logits_rows;
  layout_.set_saved_names(saved_names(options));
}

PreNormStack::Activations Gpt2::forward(const Pass& pass, const TensorView& tokens, bool keep) const {
  const int64_t batch = tokens.dim(0), t = tokens.dim(1), c = options_.width;
  ArenaTensor embedding = pass.take({batch * t, c}, "embedding");
  embedding_forward(pass.exec, {.out = embedding.view().view({batch, t, c}),
                                .tokens = tokens,
                                .wte = pass.param(wte_),
                                .wpe = pass.param(wpe_),
                                .dropout = pass.dropout_at(kEmbeddingSite)});
  return stack_.forward(pass, std::move(embedding), batch, keep);
}

void Gpt2::train(const Exec& exec, Arena& arena, const TrainPass& args) const {
  const TensorView tokens = args.batch["tokens"];
  const int64_t batch = tokens.dim(0), t = tokens.dim(1), m = batch * t, c = options_.width;
  const Pass pass = Pass::of(exec, arena, *this, args, options_.dropout);
  PreNormStack::Activations a = forward(pass, tokens, /*keep=*/true);

  SummedGrad dhead(pass, head_.weight);
  ArenaTensor dout = pass.take({m, c}, "dlayernorm");
  head_.forward_backward(pass, {.dx = dout, .dw = dhead.view()}, a.norm.out, args.batch["targets"].view({m}),
                         {args.grad_scale, args.loss_scale});
  if (!options_.tie_embeddings) {
    dhead.finish();
    pass.announce(head_.weight);
  }
  const ArenaTensor dembedding = stack_.backward(pass, std::move(a), std::move(dout), batch);

  SummedGrad dwte = options_.tie_embeddings ? std::move(dhead) : SummedGrad(pass, wte_);
  if (!options_.tie_embeddings && !pass.accumulate) exec.stream->zero(dwte.view());
  embedding_backward(exec, {.dwte = dwte.view(),
                            .dwpe = pass.grad(wpe_),
                            .dout = dembedding.view().view({batch, t, c}),
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
  const PreNormStack::Activations a = forward(pass, args.batch["tokens"], /*keep=*/false);
  const TensorView targets = args.batch["targets"];
  head_.forward(pass, a.norm.out, targets.view({targets.numel()}));
}

void Gpt2::generate(const Exec& exec, Arena& arena, const GeneratePass& args) const {
  const Pass pass{.exec = exec, .arena = arena, .layout = layout_, .params = args.params, .dropout = {}};
  const PreNormStack::Activations a = forward(pass, args.tokens, /*keep=*/false);
  linear_forward(exec, {.y = args.logits,
                        .x = a.norm.out.view().rows(args.position, 1),
                        .w = pass.param(head_.weight),
                        .bias = {},
                        .w_transposed = true});
}

}  // namespace ddp::gpt2
