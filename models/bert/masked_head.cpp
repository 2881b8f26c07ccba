#include "models/bert/masked_head.h"

#include "models/bert/block.h"

namespace ddp::bert {
namespace {

TensorView flat(const TensorView& x) { return x.view({x.numel()}); }

// The rows (B*K,C) of hidden (M,C) at these positions (B,K).
ArenaTensor rows_at(const Pass& pass, const TensorView& hidden, const TensorView& positions) {
  ArenaTensor rows = pass.take({positions.numel(), hidden.dim(1)}, "masked rows");
  gather_rows(pass.exec, {.y = rows, .x = hidden, .index = flat(positions), .samples = positions.dim(0)});
  return rows;
}

}  // namespace

void MaskedHead::declare(ParamLayout& layout, const Options& options, int64_t logits_rows) {
  classifier_.bias =
      layout.add("cls.predictions.bias", {padded_vocab(options.vocab)}, /*decay=*/false, {}, {options.vocab});
  classifier_.live_columns = options.vocab;
  classifier_.rows_at_once = logits_rows;
  transform_.norm.eps = float(options.norm_eps);
  transform_.activation = options.activation;
  transform_.declare(layout, "cls.predictions.transform", options.width, kSigma);
}

void MaskedHead::forward(const Pass& pass, const TensorView& hidden, const Masked& masked) const {
  HeadTransform::Saved saved;
  transform_.forward(pass, saved, rows_at(pass, hidden, masked.positions));
  classifier_.forward(pass, saved.norm.out, flat(masked.targets));
}

void MaskedHead::forward_backward(const Pass& pass, const TensorView& dhidden, SummedGrad& dword,
                                  const TensorView& hidden, const Masked& masked,
                                  const Classifier::LossGrad& loss_grad) const {
  const ArenaTensor rows = rows_at(pass, hidden, masked.positions);
  HeadTransform::Saved saved;
  transform_.forward(pass, saved, rows);
  const ArenaTensor grad = pass.take(rows.view().shape, "dmasked rows");
  SummedGrad dbias(pass, classifier_.bias);
  classifier_.forward_backward(pass, {.dx = grad, .dw = dword.view(), .db = dbias.view()}, saved.norm.out,
                               flat(masked.targets), loss_grad);
  dbias.finish();
  pass.announce(classifier_.bias);
  transform_.backward(pass, saved, /*dx=*/grad, /*dy=*/grad, rows);
  scatter_rows(pass.exec,
               {.y = dhidden, .x = grad, .index = flat(masked.positions), .samples = masked.positions.dim(0)});
}

}  // namespace ddp::bert
