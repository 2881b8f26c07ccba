#include "models/layers/layer_norm.h"

namespace ddp {

void LayerNorm::declare(ParamLayout& layout, const std::string& name, int64_t width) {
  weight = layout.add(name + ".weight", {width}, /*decay=*/false, Init::constant(1.0));
  bias = layout.add(name + ".bias", {width}, /*decay=*/false);
}

void LayerNorm::forward(const Pass& pass, Saved& saved, const TensorView& residual_in, const TensorView& branch,
                        uint32_t site) const {
  const int64_t m = residual_in.dim(0), c = residual_in.dim(1);
  if (branch) saved.residual = pass.take({m, c}, "residual");
  saved.out = pass.take({m, c}, "layernorm");
  saved.mean = pass.take_wide({m}, "mean");
  saved.rstd = pass.take_wide({m}, "rstd");
  layernorm_forward(pass.exec, {.residual_out = branch ? saved.residual.view() : TensorView(),
                                .y = saved.out,
                                .mean = saved.mean,
                                .rstd = saved.rstd,
                                .residual_in = residual_in,
                                .branch = branch,
                                .w = pass.param(weight),
                                .b = pass.param(bias),
                                .eps = eps,
                                .dropout = pass.dropout_at(site)});
}

void LayerNorm::forward_again(const Pass& pass, Saved& saved) const { forward(pass, saved, saved.residual, {}, 0); }

void LayerNorm::backward(const Pass& pass, const Saved& saved, const TensorView& dresidual, const TensorView& dbranch,
                         const TensorView& dy, bool add, uint32_t site) const {
  const ArenaTensor workspace =
      pass.arena.take({layernorm_workspace(dy.dim(0), dy.dim(1))}, "layernorm workspace", DType::u8);
  layernorm_backward(pass.exec, {.dresidual = dresidual,
                                 .dbranch = dbranch,
                                 .dw = pass.grad(weight),
                                 .db = pass.grad(bias),
                                 .dy = dy,
                                 .x = saved.residual,
                                 .mean = saved.mean,
                                 .rstd = saved.rstd,
                                 .w = pass.param(weight),
                                 .workspace = workspace,
                                 .accumulate_residual = add,
                                 .accumulate = pass.accumulate,
                                 .dropout = pass.dropout_at(site)});
  pass.announce(weight);
  pass.announce(bias);
}

}  // namespace ddp
