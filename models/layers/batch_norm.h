// Batch norm over the rows of (M,C), with ReLU and the sum of a shortcut fused in. A micro-batch is normalised by its
// own statistics; what each says of the running ones goes to the step's sums (Model::state_layout).
#pragma once

#include <string>

#include "models/layers/pass.h"

namespace ddp {

struct BatchNorm {
  ParamId weight, bias;    // (C)
  ParamId mean, variance;  // (C) of the state: running
  float eps = 1e-5f;

  // Of one forward: (C) f32 each.
  struct Statistics {
    ArenaTensor mean, rstd;
  };
  struct Form {
    bool relu = false;
    TensorView residual = {};  // added before the ReLU
  };
  // What backward reads and writes; as BatchNormBackward's.
  struct Grads {
    TensorView dx, dy, x;
    TensorView y = {}, dresidual = {};
    bool relu = false;
  };

  // weight starts at `gain`, bias at 0, the running mean at 0, the running variance at 1. Names as
  // torch.nn.BatchNorm2d's. Call in backward order, of parameters and of state.
  void declare(ParamLayout& layout, ParamLayout& state, const std::string& name, int64_t width, double gain = 1.0);

  // Statistics of the rows of x, which also go to pass.statistics; in evaluation none.
  Statistics measure(const Pass& pass, const TensorView& x) const;
  // y (M,C) = norm of x by these statistics; in evaluation by the running ones. y may be x or the residual.
  void apply(const Pass& pass, const TensorView& y, const TensorView& x, const Statistics& statistics,
             const Form& form) const;
  // Announces weight and bias.
  void backward(const Pass& pass, const Grads& grads, const Statistics& statistics) const;
  // Of a norm whose output was max-pooled by the windows of batchnorm_pool.
  struct PoolGrads {
    TensorView dx, dy, index, x;
  };
  void pool_backward(const Pass& pass, const PoolGrads& grads, const Statistics& statistics) const;

  // What the ops take: by the statistics of a pass, or by the running ones where they are empty.
  BatchNormAffine affine(const Pass& pass, const Statistics& statistics) const;

 private:
  ArenaTensor workspace(const Pass& pass, const TensorView& x) const;
};

}  // namespace ddp
