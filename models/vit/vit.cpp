#include "models/vit/vit.h"

#include <utility>

#include "models/layers/pixels.h"
#include "models/layers/summed_grad.h"

namespace ddp::vit {
namespace {

constexpr uint32_t kEmbeddingSite = 0, kStackSite = 1;  // of dropout
constexpr double kSigma = 0.02;                         // of the initial weights but those of patches and projections
constexpr int64_t kLogitsRows = 1024;                   // at once: a micro-batch, mostly

}  // namespace

Vit::Vit(const Options& options, int64_t pixel_channels)
    : options_(options), pixel_channels_(pixel_channels), inputs_(image_inputs(options.image)) {
  const int64_t c = options.width, side = options.image.size / options.patch;
  patch_.channels = c;
  patch_.size = options.patch;
  patch_.window = {.stride = options.patch, .padding = 0};
  // Backward order.
  head_.bias = layout_.add("head.bias", {options.image.classes}, /*decay=*/false);
  head_.weight = layout_.add("head.weight", {options.image.classes, c}, /*decay=*/true, Init::normal(kSigma));
  head_.live_columns = options.image.classes;
  head_.label_smoothing = float(options.image.label_smoothing);
  head_.rows_at_once = kLogitsRows;
  stack_.declare(layout_, {.layers = options.layers,
                           .heads = options.heads,
                           .width = c,
                           .causal = false,
                           .mlp_width = 4 * c,
                           .activation = options.activation,
                           .order = WeightOrder::out_in,
                           .eps = float(options.norm_eps),
                           .sigma = kSigma,
                           .recompute = options.recompute,
                           .first_site = kStackSite,
                           .block_name = "blocks.",
                           .names = {.ln_1 = "norm1",
                                     .qkv = "attn.qkv",
                                     .attention_proj = "attn.proj",
                                     .ln_2 = "norm2",
                                     .fc = "mlp.fc1",
                                     .mlp_proj = "mlp.fc2"},
                           .norm_name = "norm"});
  position_ = layout_.add("pos_embed", {side * side, c}, /*decay=*/true, Init::normal(kSigma));
  patch_.declare(layout_, "patch_embed.proj", pixel_channels, options.image.channels);
  layout_.set_saved_names(
      {.parts = {{.saved = "patch_embed.proj.weight", .param = "patch_embed.proj.weight", .permutation = {0, 3, 1, 2}}},
       .may_start_anew = {"head.weight", "head.bias"}});
}

Shape Vit::patches(int64_t batch) const {
  const int64_t side = options_.image.size / options_.patch;
  return {batch, side, side, options_.width};
}

PreNormStack::Activations Vit::forward(const Pass& pass, const TensorView& image, bool keep) const {
  const Shape shape = patches(image.dim(0));
  const int64_t batch = shape[0], t = shape[1] * shape[2], c = shape[3];
  ArenaTensor embedding = pass.take({batch * t, c}, "embedding");
  {
    const ArenaTensor patch = pass.take(shape, "patches");
    patch_.forward(pass, patch, pixels(pass, options_.image, image, pixel_channels_));
    embedding_forward(pass.exec, {.out = embedding.view().view({batch, t, c}),
                                  .wpe = pass.param(position_),
                                  .dense = patch.view().view({batch, t, c}),
                                  .dropout = pass.dropout_at(kEmbeddingSite)});
  }
  return stack_.forward(pass, std::move(embedding), batch, keep);
}

ArenaTensor Vit::averaged(const Pass& pass, const TensorView& out, int64_t batch) const {
  ArenaTensor mean = pass.take({batch, options_.width}, "mean");
  average_pool_forward(pass.exec, {.y = mean, .x = out.view(patches(batch))});
  return mean;
}

void Vit::train(const Exec& exec, Arena& arena, const TrainPass& args) const {
  const Pass pass = Pass::of(exec, arena, *this, args, options_.dropout);
  const TensorView image = args.batch["image"];
  const Shape shape = patches(image.dim(0));
  const int64_t batch = shape[0], t = shape[1] * shape[2], c = shape[3];
  PreNormStack::Activations a = forward(pass, image, /*keep=*/true);

  ArenaTensor dout = pass.take({batch * t, c}, "dout");
  {
    const ArenaTensor mean = averaged(pass, a.norm.out, batch), dmean = pass.take({batch, c}, "dmean");
    SummedGrad dw(pass, head_.weight), db(pass, head_.bias);
    head_.forward_backward(pass, {.dx = dmean, .dw = dw.view(), .db = db.view()}, mean, args.batch["label"],
                           {args.grad_scale, args.loss_scale});
    db.finish();
    pass.announce(head_.bias);
    dw.finish();
    pass.announce(head_.weight);
    average_pool_backward(exec, {.dx = dout.view().view(shape), .dy = dmean});
  }
  const ArenaTensor dembedding = stack_.backward(pass, std::move(a), std::move(dout), batch);
  ArenaTensor masked;  // where there is dropout
  if (pass.dropout.p > 0) masked = pass.take({batch * t, c}, "dpatches");
  embedding_backward(exec, {.dwpe = pass.grad(position_),
                            .ddense = masked.view() ? masked.view().view({batch, t, c}) : TensorView(),
                            .dout = dembedding.view().view({batch, t, c}),
                            .accumulate = pass.accumulate,
                            .dropout = pass.dropout_at(kEmbeddingSite)});
  pass.announce(position_);
  const TensorView dpatches = masked.view() ? masked.view() : dembedding.view();
  patch_.backward_weight(pass, pixels(pass, options_.image, image, pixel_channels_), dpatches.view(shape));
}

void Vit::evaluate(const Exec& exec, Arena& arena, const EvalPass& args) const {
  const Pass pass = Pass::of(exec, arena, *this, args);
  const TensorView image = args.batch["image"];
  const PreNormStack::Activations a = forward(pass, image, /*keep=*/false);
  head_.forward(pass, averaged(pass, a.norm.out, image.dim(0)), args.batch["label"]);
}

}  // namespace ddp::vit
