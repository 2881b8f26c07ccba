#include "models/layers/batch_norm.h"

namespace ddp {

void BatchNorm::declare(ParamLayout& layout, ParamLayout& state, const std::string& name, int64_t width, double gain) {
  weight = layout.add(name + ".weight", {width}, /*decay=*/false, Init::constant(gain));
  bias = layout.add(name + ".bias", {width}, /*decay=*/false);
  mean = state.add(name + ".running_mean", {width}, /*decay=*/false);
  variance = state.add(name + ".running_var", {width}, /*decay=*/false, Init::constant(1.0));
}

ArenaTensor BatchNorm::workspace(const Pass& pass, const TensorView& x) const {
  const int64_t c = x.dim(x.shape.rank - 1);
  return pass.arena.take({batchnorm_workspace(x.numel() / c, c)}, "norm workspace", DType::u8);
}

BatchNorm::Statistics BatchNorm::measure(const Pass& pass, const TensorView& x) const {
  if (!pass.trains()) return {};
  const Shape width{x.dim(x.shape.rank - 1)};
  Statistics statistics = {.mean = pass.take_wide(width, "mean"), .rstd = pass.take_wide(width, "rstd")};
  const ArenaTensor scratch = workspace(pass, x);
  batchnorm_statistics(pass.exec, {.mean = statistics.mean,
                                   .rstd = statistics.rstd,
                                   .mean_seen = pass.statistic(mean),
                                   .variance_seen = pass.statistic(variance),
                                   .x = x,
                                   .workspace = scratch,
                                   .eps = eps,
                                   .accumulate_seen = pass.accumulate});
  return statistics;
}

BatchNormAffine BatchNorm::affine(const Pass& pass, const Statistics& statistics) const {
  BatchNormAffine f = {
      .mean = statistics.mean, .rstd = statistics.rstd, .w = pass.param(weight), .b = pass.param(bias), .eps = eps};
  if (!f.mean) f.mean = pass.running(mean), f.variance = pass.running(variance);
  return f;
}

void BatchNorm::apply(const Pass& pass, const TensorView& y, const TensorView& x, const Statistics& statistics,
                      const Form& form) const {
  batchnorm_apply(pass.exec,
                  {.y = y, .x = x, .residual = form.residual, .affine = affine(pass, statistics), .relu = form.relu});
}

void BatchNorm::backward(const Pass& pass, const Grads& grads, const Statistics& statistics) const {
  const ArenaTensor scratch = workspace(pass, grads.x);
  batchnorm_backward(pass.exec, {.dx = grads.dx,
                                 .dw = pass.grad(weight),
                                 .db = pass.grad(bias),
                                 .dresidual = grads.dresidual,
                                 .dy = grads.dy,
                                 .x = grads.x,
                                 .y = grads.y,
                                 .affine = affine(pass, statistics),
                                 .workspace = scratch,
                                 .relu = grads.relu,
                                 .accumulate = pass.accumulate});
  pass.announce(weight);
  pass.announce(bias);
}

void BatchNorm::pool_backward(const Pass& pass, const PoolGrads& grads, const Statistics& statistics) const {
  const ArenaTensor scratch = workspace(pass, grads.x);
  batchnorm_pool_backward(pass.exec, {.dx = grads.dx,
                                      .dw = pass.grad(weight),
                                      .db = pass.grad(bias),
                                      .dy = grads.dy,
                                      .index = grads.index,
                                      .x = grads.x,
                                      .affine = affine(pass, statistics),
                                      .workspace = scratch,
                                      .accumulate = pass.accumulate});
  pass.announce(weight);
  pass.announce(bias);
}

}  // namespace ddp
