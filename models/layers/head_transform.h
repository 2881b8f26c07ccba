// What stands between an encoder and its classifier over the vocabulary in BERT (Devlin et al., 2018):
// y = norm(gelu(x W + b)), or with another activation.
#pragma once

#include <string>

#include "models/layers/layer_norm.h"
#include "models/layers/linear.h"
#include "models/transformer_options.h"

namespace ddp {

struct HeadTransform {
  Linear dense{.order = WeightOrder::out_in};
  LayerNorm norm;
  Activation activation = Activation::gelu;

  // What backward needs of one forward.
  struct Saved {
    ArenaTensor dense;      // (M,C) before the activation
    LayerNorm::Saved norm;  // its input is the activation, norm.out is y (M,C)
  };

  // Appends `name`.LayerNorm and `name`.dense to the layout; call in backward order.
  void declare(ParamLayout& layout, const std::string& name, int64_t width, double sigma);
  // From x (M,C) to saved.norm.out.
  void forward(const Pass& pass, Saved& saved, const TensorView& x) const;
  // dx (M,C) = from dy (M,C), which it may be. Announces all parameters; saved.dense may be overwritten.
  void backward(const Pass& pass, const Saved& saved, const TensorView& dx, const TensorView& dy,
                const TensorView& x) const;
};

}  // namespace ddp
