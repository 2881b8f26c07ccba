// A residual block: out = relu(norm(... relu(norm(x * w1)) ... * wn) + shortcut), the shortcut being x or, where the
// shape changes, norm(x * w). Tensors are images (N,H,W,C).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "models/layers/batch_norm.h"
#include "models/layers/convolution.h"
#include "models/resnet/options/options.h"

namespace ddp::resnet {

// A convolution and its norm.
struct Unit {
  Convolution conv;
  BatchNorm norm;

  // What backward needs of one forward.
  struct Saved {
    ArenaTensor conv;                  // what the convolution wrote
    BatchNorm::Statistics statistics;  // of it
    ArenaTensor out;                   // normalised, after ReLU; of a block's last unit and of its shortcut none
  };
};

struct BlockSaved {
  std::vector<Unit::Saved> units;
  Unit::Saved shortcut;
};

// Names of a block's parameters are torchvision's.
class Block {
 public:
  // `stride` of the block's 3x3 convolution (of two: the first).
  Block(BlockKind kind, int64_t in, int64_t width, int64_t stride, Recompute recompute);

  int64_t out_channels() const { return units_.back().conv.channels; }
  void declare(ParamLayout& layout, ParamLayout& state, const std::string& name);
  // Returns out; what backward needs goes to `saved`, nothing in evaluation.
  ArenaTensor forward(const Pass& pass, BlockSaved& saved, const TensorView& x) const;
  // From the gradient of `out` to that of x, which it returns. Takes `dout` and `out` and what is saved out of the
  // arena as it goes. Announces all parameters.
  ArenaTensor backward(const Pass& pass, BlockSaved saved, const TensorView& x, ArenaTensor out,
                       ArenaTensor dout) const;

 private:
  ArenaTensor convolve(const Pass& pass, const Unit& unit, const TensorView& x) const;
  // relu(norm) of what a unit's convolution wrote.
  ArenaTensor normed(const Pass& pass, const Unit& unit, const Unit::Saved& saved) const;
  // All convolutions with the norms between them. `again`: by the statistics that are saved.
  void convolutions(const Pass& pass, BlockSaved& saved, const TensorView& x, bool again) const;

  int64_t in_channels_ = 0;
  std::vector<Unit> units_;
  std::optional<Unit> shortcut_;
  Recompute recompute_;
};

}  // namespace ddp::resnet
