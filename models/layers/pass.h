// What the layers of one forward and backward share: where parameters and gradients lie, how ops run, whom to tell.
#pragma once

#include <functional>

#include "kernels/ops.h"
#include "runtime/device/arena.h"
#include "runtime/state/param_layout.h"

namespace ddp {

struct Pass {
  const Exec& exec;
  Arena& arena;
  const ParamLayout& layout;
  float* params;
  float* grads = nullptr;
  bool accumulate = false;
  const std::function<void(ParamId)>* ready = nullptr;
  Dropout dropout;  // the key and the rate; layers set the site

  TensorView param(ParamId id) const { return layout.view(id, params); }
  TensorView grad(ParamId id) const { return layout.view(id, grads); }
  void announce(ParamId id) const { (*ready)(id); }
  Dropout dropout_at(uint32_t site) const {
    Dropout d = dropout;
    d.site = site;
    return d;
  }
};

}  // namespace ddp
