#include "models/resnet/block.h"

#include <utility>

namespace ddp::resnet {
namespace {

constexpr int64_t kExpansion = 4;  // of a bottleneck's channels at its end

Unit unit(int64_t channels, int64_t size, int64_t stride) {
  return {.conv = {.weight = {}, .channels = channels, .size = size, .window = {stride, size / 2}}, .norm = {}};
}

}  // namespace

Block::Block(BlockKind kind, int64_t in, int64_t width, int64_t stride, Recompute recompute) : recompute_(recompute) {
  switch (kind) {
    case BlockKind::basic:
      units_ = {unit(width, 3, stride), unit(width, 3, 1)};
      break;
    case BlockKind::bottleneck:
      units_ = {unit(width, 1, 1), unit(width, 3, stride), unit(kExpansion * width, 1, 1)};
      break;
  }
  in_channels_ = in;
  if (stride != 1 || in != out_channels()) shortcut_ = unit(out_channels(), 1, stride);
}

// In the order in which backward finishes their gradients. The last norm's weight starts at 0, so that each block
// starts as the identity (Goyal et al., 2017).
void Block::declare(ParamLayout& layout, ParamLayout& state, const std::string& name) {
  const auto norm_name = [&](size_t i) { return fmt::format("{}.bn{}", name, i + 1); };
  const size_t last = units_.size() - 1;
  units_[last].norm.declare(layout, state, norm_name(last), units_[last].conv.channels, /*gain=*/0.0);
  if (shortcut_) shortcut_->norm.declare(layout, state, name + ".downsample.1", shortcut_->conv.channels);
  for (size_t i = units_.size(); i-- > 0;) {
    Unit& u = units_[i];
    if (i != last) u.norm.declare(layout, state, norm_name(i), u.conv.channels);
    u.conv.declare(layout, fmt::format("{}.conv{}", name, i + 1), i == 0 ? in_channels_ : units_[i - 1].conv.channels);
  }
  if (shortcut_) shortcut_->conv.declare(layout, name + ".downsample.0", in_channels_);
}

ArenaTensor Block::convolve(const Pass& pass, const Unit& unit, const TensorView& x) const {
  ArenaTensor y = pass.take(unit.conv.output(x.shape), "convolution");
  unit.conv.forward(pass, y, x);
  return y;
}

ArenaTensor Block::normed(const Pass& pass, const Unit& unit, const Unit::Saved& saved) const {
  ArenaTensor y = pass.take(saved.conv.view().shape, "relu");
  unit.norm.apply(pass, y, saved.conv, saved.statistics, {.relu = true});
  return y;
}

void Block::convolutions(const Pass& pass, BlockSaved& saved, const TensorView& x, bool again) const {
  const auto run = [&](const Unit& unit, Unit::Saved& kept, const TensorView& from) {
    kept.conv = convolve(pass, unit, from);
    if (!again) kept.statistics = unit.norm.measure(pass, kept.conv);
  };
  saved.units.resize(units_.size());
  for (size_t i = 0; i < units_.size(); ++i) {
    run(units_[i], saved.units[i], i == 0 ? x : saved.units[i - 1].out.view());
    if (i > 0) {
      Unit::Saved& before = saved.units[i - 1];
      if (!pass.trains()) before.conv.release();
      if (!pass.trains() || recompute_ != Recompute::none) before.out.release();
    }
    if (i + 1 < units_.size()) saved.units[i].out = normed(pass, units_[i], saved.units[i]);
  }
  if (shortcut_) run(*shortcut_, saved.shortcut, x);
}

ArenaTensor Block::forward(const Pass& pass, BlockSaved& saved, const TensorView& x) const {
  convolutions(pass, saved, x, /*again=*/false);
  const Unit::Saved& last = saved.units.back();
  ArenaTensor out = pass.take(last.conv.view().shape, "block");
  if (shortcut_) shortcut_->norm.apply(pass, out, saved.shortcut.conv, saved.shortcut.statistics, {});
  units_.back().norm.apply(pass, out, last.conv, last.statistics,
                           {.relu = true, .residual = shortcut_ ? out.view() : x});
  if (!pass.trains()) {
    saved = {};
  } else if (recompute_ == Recompute::block) {
    for (Unit::Saved& unit : saved.units) unit.conv.release();
    saved.shortcut.conv.release();
  }
  return out;
}

ArenaTensor Block::backward(const Pass& pass, BlockSaved saved, const TensorView& x, ArenaTensor out,
                            ArenaTensor dout) const {
  if (recompute_ == Recompute::block) convolutions(pass, saved, x, /*again=*/true);
  {
    // The gradient that reaches the sum goes to dout's place and so to the shortcut; the norms' to the places of what
    // they normalised.
    const TensorView c = saved.units.back().conv;
    units_.back().norm.backward(pass, {.dx = c, .dy = dout, .x = c, .y = out, .dresidual = dout, .relu = true},
                                saved.units.back().statistics);
    out.release();
  }
  if (shortcut_) {
    const TensorView d = saved.shortcut.conv;
    shortcut_->norm.backward(pass, {.dx = d, .dy = dout, .x = d}, saved.shortcut.statistics);
    dout.release();
  }
  ArenaTensor dy = std::move(saved.units.back().conv);
  for (size_t i = units_.size() - 1; i > 0; --i) {
    Unit::Saved& before = saved.units[i - 1];
    if (recompute_ != Recompute::none) before.out = normed(pass, units_[i - 1], before);
    units_[i].conv.backward_weight(pass, before.out, dy);
    // The output of a ReLU is of no more use: its gradient takes its place.
    ArenaTensor dx = std::move(before.out);
    units_[i].conv.backward_input(pass, dx, dy, /*add=*/false);
    dy = std::move(dx);
    units_[i - 1].norm.backward(pass, {.dx = dy, .dy = dy, .x = before.conv, .relu = true}, before.statistics);
    before.conv.release();
  }
  units_[0].conv.backward_weight(pass, x, dy);
  ArenaTensor dx = std::move(dout);
  if (shortcut_) {
    shortcut_->conv.backward_weight(pass, x, saved.shortcut.conv);
    dx = pass.take(x.shape, "dblock");
    shortcut_->conv.backward_input(pass, dx, saved.shortcut.conv, /*add=*/false);
    saved.shortcut.conv.release();
  }
  units_[0].conv.backward_input(pass, dx, dy, /*add=*/true);
  return dx;
}

}  // namespace ddp::resnet
