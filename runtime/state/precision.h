// What `train.precision` and `train.grad_dtype` mean in types.
#pragma once

#include "runtime/config/config.h"
#include "runtime/device/dtype.h"

namespace ddp {

struct Precision {
  DType storage = DType::f32;    // of parameters and activations; 16 bits have f32 master parameters beside them
  DType gradients = DType::f32;  // of the flat gradients that are all-reduced; sums over micro-steps are f32
  bool tf32 = false;             // CUDA: f32 products through tensor cores that read 19 bits
  bool has_master() const { return storage != DType::f32; }
};

// Deterministic runs reduce f32 whatever grad_dtype says: lanes add as a tree, and rounding inside it would depend on
// how many of its levels lie within a rank.
Precision precision_of(const TrainConfig& config);

}  // namespace ddp
