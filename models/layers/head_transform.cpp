#include "models/layers/head_transform.h"

#include "models/layers/activation.h"

namespace ddp {

void HeadTransform::declare(ParamLayout& layout, const std::string& name, int64_t width, double sigma) {
  norm.declare(layout, name + ".LayerNorm", width);
  dense.declare(layout, name + ".dense", width, width, sigma);
}

void HeadTransform::forward(const Pass& pass, Saved& saved, const TensorView& x) const {
  saved.dense = pass.take(x.shape, "transform");
  dense.forward(pass, saved.dense, x);
  saved.norm.residual = pass.take(x.shape, "transform gelu");
  activation_forward(pass, activation, saved.norm.residual, saved.dense);
  norm.forward(pass, saved.norm, saved.norm.residual, {}, 0);
}

void HeadTransform::backward(const Pass& pass, const Saved& saved, const TensorView& dx, const TensorView& dy,
                             const TensorView& x) const {
  const ArenaTensor dgelu = pass.take(dy.shape, "dtransform");
  norm.backward(pass, saved.norm, dgelu, {}, dy, /*add=*/false, 0);
  const TensorView ddense = dgelu;
  activation_backward(pass, activation, ddense, dgelu, saved.dense);
  dense.backward_weight(pass, x, ddense);
  dense.backward_input(pass, dx, ddense);
}

}  // namespace ddp
