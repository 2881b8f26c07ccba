// A convolution by plain loops, as the simulated cuDNN runs it.
#pragma once

#include <array>
#include <cstddef>

#include "runtime/device/dtype.h"

namespace ddp::sim {

struct Image {
  int64_t n, h, w, c;  // channels last
  int64_t size() const { return n * h * w * c; }
};

struct Convolution {
  enum class Kind : uint8_t { forward, backward_input, backward_weight };
  Kind kind;
  DType type;
  bool tf32;      // the operands are rounded to 10 bits of mantissa
  Image x, w, y;  // w: its K as n
  int64_t stride, padding;
  void *x_data, *w_data, *y_data;
  void* workspace;  // which it overwrites
  size_t workspace_bytes;
};

// Each output is a sum in f32, of fixed order, rounded once. Of the running work.
void convolve(const Convolution& c);

}  // namespace ddp::sim
