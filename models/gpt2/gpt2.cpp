#include "models/gpt2/gpt2.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "models/layers/summed_grad.h"
#include "models/layers/token_order.h"
#include "runtime/base/philox.h"
#include "runtime/base/rounding.h"

namespace ddp::gpt2 {
namespace {

// Dropout sites: the embedding's, then kSitesPerBlock for each block, then the last block's branch at the final norm.
constexpr uint32_t kEmbeddingSite = 0, kFirstBlockSite = 1, kSitesPerBlock = 3;

// Normal values as a pure function of (seed, stream, element); Box-Muller on Philox words, two at a time.
void fill_normal(ThreadPool& pool, std::span<float> out, uint64_t seed, uint32_t stream, double sigma) {
  constexpr size_t kBlock = 65536;  // elements; whole Philox calls, of 4 words each
  pool.parallel_for(ceil_div(int64_t(out.size()), kBlock), [=](int64_t block) {
    const size_t begin = size_t(block) * kBlock, end = std::min(out.size(), begin + kBlock);
    for (size_t i = begin; i < end; i += 4) {
      const Philox4 r =
          philox(uint32_t(seed), uint32_t(seed >> 32), uint32_t(i / 4), uint32_t(uint64_t(i / 4) >> 32), stream, 0);
      for (size_t j = 0; j < 4 && i + j < end; j += 2) {
        const double u = (double(r.word[j]) + 1.0) * 0x1p-32,
                     angle = 2.0 * std::numbers::pi * double(r.word[j + 1]) * 0x1p-32;
        const double radius = sigma * std::sqrt(-2.0 * std::log(u));
        out[i + j] = float(radius * std::cos(angle));
        if (i + j + 1 < end) out[i + j + 1] = float(radius * std::sin(angle));
      }
    }
  });
}

}  // namespace

int64_t padded_vocab(int64_t vocab) { return (vocab + 63) / 64 * 64; }

Gpt2::Gpt2(const Options& options)
    : options_(options),
      inputs_{{.name = "tokens", .sample = {options.context}, .limit = options.vocab},
              {.name = "targets", .sample = {options.context}, .limit = options.vocab},
              token_order(options.context)},
      blocks_(size_t(options.layers)) {
  const int64_t c = options.width, rows = padded_vocab();
  // Backward order. The tied embedding comes last: its classifier part is ready first, but its lookup part is last of
  // all.
  if (!options.tie_embeddings) head_.weight = layout_.add("lm_head.weight", {rows, c}, true, options.vocab);
  ln_f_.declare(layout_, "ln_f", c);
  for (int64_t l = options.layers - 1; l >= 0; --l) {
    Block& block = blocks_[size_t(l)];
    block.heads = options.heads;
    block.is_first = l == 0;
    block.recompute = options.recompute;
    block.first_site = kFirstBlockSite + uint32_t(l) * kSitesPerBlock;
    block.declare(layout_, fmt::format("h.{}", l), c);
  }
  wpe_ = layout_.add("wpe.weight", {options.context, c}, true);
  wte_ = layout_.add("wte.weight", {rows, c}, true, options.vocab);
  if (options.tie_embeddings) head_.weight = wte_;
  head_.live_columns = options.vocab;
  head_.rows_at_once = options.logits_rows;
}

void Gpt2::init(std::span<float> params, uint64_t seed, ThreadPool& pool) const {
  const double sigma = 0.02, residual_sigma = sigma / std::sqrt(2.0 * double(options_.layers));
  uint32_t stream = 0;
  for (const Param& p : layout_.params()) {
    const int64_t live = p.numel / p.shape[0] * p.saved_rows;
    const std::span<float> values = params.subspan(size_t(p.offset), size_t(live));
    const bool is_norm = p.shape.rank == 1 && p.name.ends_with(".weight");
    if (p.shape.rank == 2)
      fill_normal(pool, values, seed, stream, p.name.ends_with("c_proj.weight") ? residual_sigma : sigma);
    else
      std::fill(values.begin(), values.end(), is_norm ? 1.0f : 0.0f);
    ++stream;
  }
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
  const Pass pass{.exec = exec,
                  .arena = arena,
                  .layout = layout_,
                  .params = args.params,
                  .grads = args.grads,
                  .accumulate = args.accumulate,
                  .sums = args.sums,
                  .ready = &args.ready,
                  .dropout = {.p = options_.dropout,
                              .seed = args.seed,
                              .step = args.attempted_step,
                              .sample_ids = args.batch.sample_ids().as<int32_t>(),
                              .num_samples = batch}};
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
    if (options_.dropout > 0.0f) grad.masked = pass.take({m, c}, "dbranch");
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
  const Pass pass{
      .exec = exec, .arena = arena, .layout = layout_, .params = args.params, .sums = args.sums, .dropout = {}};
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
