// Multi-head self-attention between two linear layers: y = attention(x W_qkv + b) W_proj + b. The op keeps no matrix of
// scores (kernels/ops/attention.h).
#pragma once

#include "models/layers/linear.h"

namespace ddp {

struct SelfAttention {
  Linear qkv, proj;  // (C,3C), (C,C)
  int64_t heads = 1;
  bool causal = true;
  uint32_t site = 0;  // of dropout of the probabilities

  // What backward needs of one forward.
  struct Saved {
    ArenaTensor qkv;  // (B,T,3C)
    ArenaTensor lse;  // (B,H,T)
    ArenaTensor out;  // (B,T,C)
  };

  // y (M,C) = from x (M,C), M = B * T. lengths: (B) i32, or empty where every sample has T positions.
  void forward(const Pass& pass, Saved& saved, const TensorView& y, const TensorView& x, int64_t batch,
               const TensorView& lengths) const;
  // From dy (M,C): announces proj and returns the gradient (M,3C) of what `qkv` wrote. `saved` goes back to the arena.
  ArenaTensor backward(const Pass& pass, Saved& saved, const TensorView& dy, int64_t batch,
                       const TensorView& lengths) const;
};

// Whether a device computes attention with such heads, which the op would find out too late. Errors: config (78).
void check_heads(int64_t width, int64_t heads, DeviceKind device);

}  // namespace ddp
