// A convolution of images (N,H,W,C) without bias. A window of 1x1 is a linear layer over positions, of every stride-th
// one where it has a stride: on the CPU sgemm is the faster, on CUDA cuBLASLt needs less memory and adds into f32.
#pragma once

#include <string>

#include "models/layers/pass.h"

namespace ddp {

struct Convolution {
  ParamId weight;                  // (K,R,R,C)
  int64_t channels = 0, size = 1;  // K, R
  Window window = {};

  // Appends `name`.weight: normal with the variance 2 / (K R R) (He et al., 2015, by the fan out). C is `in`, of which
  // the first `live_in` are no padding.
  void declare(ParamLayout& layout, const std::string& name, int64_t in, int64_t live_in);
  void declare(ParamLayout& layout, const std::string& name, int64_t in) { declare(layout, name, in, in); }

  // (N,P,Q,K) from x's (N,H,W,C).
  Shape output(const Shape& x) const;
  void forward(const Pass& pass, const TensorView& y, const TensorView& x) const;
  // dx (=|+= where add) from dy.
  void backward_input(const Pass& pass, const TensorView& dx, const TensorView& dy, bool add) const;
  // Announces the weight.
  void backward_weight(const Pass& pass, const TensorView& x, const TensorView& dy) const;

 private:
  bool is_linear() const { return size == 1 && window.padding == 0; }
  // What a window of 1x1 reads of x: x itself, or in `sub` every stride-th position; as rows (N P Q, C).
  TensorView rows_read(const Pass& pass, ArenaTensor& sub, const TensorView& x) const;
};

}  // namespace ddp
