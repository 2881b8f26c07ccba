// y (M,N) = x (M,K) W + b (N), by a weight that lies as it is saved: GPT-2's "Conv1D" is [in, out], torch.nn.Linear's
// [out, in].
#pragma once

#include <string>

#include "models/layers/pass.h"

namespace ddp {

enum class WeightOrder : uint8_t { in_out, out_in };

struct Linear {
  ParamId weight = {}, bias = {};
  WeightOrder order = WeightOrder::in_out;

  // Appends weight and bias to the layout; call in backward order.
  // The weight is N(0, sigma) at first, the bias 0.
  void declare(ParamLayout& layout, const std::string& name, int64_t in, int64_t out, double sigma);
  void forward(const Pass& pass, const TensorView& y, const TensorView& x) const;
  // dW, db (=|+=) from x and dy; announces both.
  void backward_weight(const Pass& pass, const TensorView& x, const TensorView& dy) const;
  // dx (=|+= where add) dy times W transposed.
  void backward_input(const Pass& pass, const TensorView& dx, const TensorView& dy, bool add = false) const;

 private:
  bool is_transposed() const { return order == WeightOrder::out_in; }
};

}  // namespace ddp
