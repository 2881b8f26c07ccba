#include "models/bert/pooled_head.h"

#include "models/bert/block.h"
#include "models/layers/summed_grad.h"

namespace ddp::bert {
namespace {

constexpr int64_t kLogitsRows = 1024;  // at once: a micro-batch, mostly

// (M,C) as what every T-th position is read of, and their rows (B,C) likewise.
TensorView as_positions(const TensorView& x, int64_t batch) { return x.view({batch, x.dim(0) / batch, 1, x.dim(1)}); }

}  // namespace

void PooledHead::declare(ParamLayout& layout, const Options& options) {
  classifier_.bias = layout.add("classifier.bias", {options.classes}, /*decay=*/false);
  classifier_.weight =
      layout.add("classifier.weight", {options.classes, options.width}, /*decay=*/true, Init::normal(kSigma));
  classifier_.live_columns = options.classes;
  classifier_.rows_at_once = kLogitsRows;
  dense_.declare(layout, "bert.pooler.dense", options.width, options.width, kSigma);
}

PooledHead::Saved PooledHead::pool(const Pass& pass, const TensorView& hidden, int64_t batch) const {
  const int64_t t = hidden.dim(0) / batch, c = hidden.dim(1);
  Saved saved = {.first = pass.take({batch, c}, "first"), .pooled = pass.take({batch, c}, "pooled")};
  subsample_forward(pass.exec, {.y = as_positions(saved.first, batch), .x = as_positions(hidden, batch), .stride = t});
  dense_.forward(pass, saved.pooled, saved.first);
  tanh_forward(pass.exec, {.y = saved.pooled, .x = saved.pooled});
  return saved;
}

void PooledHead::forward(const Pass& pass, const TensorView& hidden, const TensorView& label) const {
  classifier_.forward(pass, pool(pass, hidden, label.dim(0)).pooled, label);
}

void PooledHead::forward_backward(const Pass& pass, const TensorView& dhidden, const TensorView& hidden,
                                  const TensorView& label, const Classifier::LossGrad& loss_grad) const {
  const int64_t batch = label.dim(0), t = hidden.dim(0) / batch;
  const Saved saved = pool(pass, hidden, batch);
  const Shape rows = saved.pooled.view().shape;
  ArenaTensor dropped;
  if (pass.dropout.p > 0) {
    dropped = pass.take(rows, "dropped");
    apply_dropout(pass.exec, {.y = dropped, .x = saved.pooled, .dropout = pass.dropout_at(site_)});
  }
  const ArenaTensor grad = pass.take(rows, "dpooled");
  SummedGrad dw(pass, classifier_.weight), db(pass, classifier_.bias);
  classifier_.forward_backward(pass, {.dx = grad, .dw = dw.view(), .db = db.view()},
                               dropped.view() ? dropped : saved.pooled, label, loss_grad);
  db.finish();
  pass.announce(classifier_.bias);
  dw.finish();
  pass.announce(classifier_.weight);
  if (pass.dropout.p > 0) apply_dropout(pass.exec, {.y = grad, .x = grad, .dropout = pass.dropout_at(site_)});
  tanh_backward(pass.exec, {.dx = grad, .dy = grad, .y = saved.pooled});
  dense_.backward_weight(pass, saved.first, grad);
  const ArenaTensor dfirst = pass.take(rows, "dfirst");
  dense_.backward_input(pass, dfirst, grad);
  subsample_backward(pass.exec, {.dx = as_positions(dhidden, batch), .dy = as_positions(dfirst, batch), .stride = t});
}

}  // namespace ddp::bert
