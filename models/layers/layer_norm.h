// Layer norm fused with the addition of a branch to the residual stream.
#pragma once

#include <string>

#include "models/layers/pass.h"

namespace ddp {

// The gradient of the residual stream, and of the branch that was added to it last: where there is dropout, a masked
// copy.
struct ResidualGrad {
  ArenaTensor stream;  // (M,C)
  ArenaTensor masked;  // (M,C), empty without dropout
  TensorView branch() const { return masked.view() ? masked.view() : stream.view(); }
};

struct LayerNorm {
  ParamId weight, bias;
  float eps = 1e-5f;

  // What backward needs of one forward: the norm's input and output, and its statistics.
  struct Saved {
    ArenaTensor residual;    // (M,C) the norm's input: the residual stream after the branch was added
    ArenaTensor out;         // (M,C)
    ArenaTensor mean, rstd;  // (M)
  };

  void declare(ParamLayout& layout, const std::string& name, int64_t width);
  // residual = residual_in + dropout(branch, site); out = norm(residual). An empty branch: residual is residual_in,
  // which the caller has put into saved.residual.
  void forward(const Pass& pass, Saved& saved, const TensorView& residual_in, const TensorView& branch,
               uint32_t site) const;
  // saved.out, mean and rstd again, the same bits, from saved.residual.
  void forward_again(const Pass& pass, Saved& saved) const;
  // dresidual (M,C) (=|+= where add) the norm's gradient; dbranch (M,C) = its dropout mask at `site`, may be empty.
  // Announces weight and bias.
  void backward(const Pass& pass, const Saved& saved, const TensorView& dresidual, const TensorView& dbranch,
                const TensorView& dy, bool add, uint32_t site) const;
};

}  // namespace ddp
