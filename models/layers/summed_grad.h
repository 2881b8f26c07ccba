// The gradient of a weight to which several ops add (the chunks of a classifier, the rows of a lookup): kept in f32
// until it is complete, so that it is rounded once. Where the flat gradients are f32 it is its own place there.
#pragma once

#include "models/layers/pass.h"

namespace ddp {

class SummedGrad {
 public:
  SummedGrad(const Pass& pass, ParamId id) : pass_(pass), final_(pass.grad(id)) {
    if (final_.dtype != wide(final_.dtype)) sum_ = pass.take_wide(final_.shape, "summed gradient");
  }
  TensorView view() const { return sum_.view() ? sum_.view() : final_; }
  // After the last op that adds to view().
  void finish() {
    if (!sum_.view()) return;
    const Shape flat{final_.numel()};
    cast(pass_.exec, {.y = final_.view(flat), .x = sum_.view().view(flat)});
    sum_.release();
  }

 private:
  const Pass& pass_;
  TensorView final_;
  ArenaTensor sum_;
};

}  // namespace ddp
