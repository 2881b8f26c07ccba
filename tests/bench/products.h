// The products that a training step of any model makes, as the dry run's ops are asked for them.
#pragma once

#include <compare>
#include <cstdint>
#include <map>

#include "kernels/ops/convolution.h"
#include "runtime/config/config.h"
#include "runtime/state/model.h"

namespace ddp {

// A linear layer, or a convolution, in one of its three directions.
struct StepProduct {
  enum class Kind : uint8_t { matrix, forward, backward_input, backward_weight };
  Kind kind = Kind::matrix;
  // C (m,n) = A (m,k) B (k,n); a transposed operand lies as (k,m) or (n,k).
  int64_t m = 0, n = 0, k = 0;
  bool a_transposed = false, b_transposed = false;
  // x (N,H,W,C), w (K,R,S,C).
  std::array<int64_t, 4> x = {}, w = {};
  int64_t stride = 1, padding = 0;

  double flops() const;
  auto operator<=>(const StepProduct&) const = default;
};

struct StepProducts {
  std::map<StepProduct, int64_t> counts;  // how often a step of one rank makes each
  // Of its attention as others count it: 2 products forward and 4 backward, each of T x T scores, masked or not.
  double square_attention_flops = 0;
};
StepProducts products_of_step(const Config& config, const Model& model, DeviceKind device);

}  // namespace ddp
