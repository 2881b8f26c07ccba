// y (M,N) = x (M,K) W (K,N) + b (N): GPT-2's "Conv1D" layout, W is [in, out].
#pragma once

#include <string>

#include "models/layers/pass.h"

namespace ddp {

struct Linear {
  ParamId weight, bias;

  // Appends weight and bias to the layout; call in backward order.
  void declare(ParamLayout& layout, const std::string& name, int64_t in, int64_t out);
  void forward(const Pass& pass, const TensorView& y, const TensorView& x) const;
  // dW, db (=|+=) from x and dy; announces both.
  void backward_weight(const Pass& pass, const TensorView& x, const TensorView& dy) const;
  // dx = dy W^T.
  void backward_input(const Pass& pass, const TensorView& dx, const TensorView& dy) const;
};

}  // namespace ddp
