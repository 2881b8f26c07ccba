// ResNet's part of a configuration: its keys with their presets and checks, and what train.recompute means for it.
// Without any device type: the launcher links it.
#pragma once

#include <vector>

#include "models/image_options.h"
#include "runtime/config/config.h"

namespace ddp::resnet {

// Sizes as published (He et al., 2016, table 1), under torchvision's names; a size given beside it wins.
enum class Preset : uint8_t { none, r18, r34, r50, r101, r152 };
inline constexpr Named<Preset> kPresetNames[] = {{Preset::none, ""},          {Preset::r18, "resnet18"},
                                                 {Preset::r34, "resnet34"},   {Preset::r50, "resnet50"},
                                                 {Preset::r101, "resnet101"}, {Preset::r152, "resnet152"}};
constexpr std::span<const Named<Preset>> names_of(Preset) { return kPresetNames; }

// Two 3x3; or 1x1, 3x3, 1x1 with four times the channels at the end, the stride in the 3x3 (v1.5).
enum class BlockKind : uint8_t { basic, bottleneck };
inline constexpr Named<BlockKind> kBlockNames[] = {{BlockKind::basic, "basic"}, {BlockKind::bottleneck, "bottleneck"}};
constexpr std::span<const Named<BlockKind>> names_of(BlockKind) { return kBlockNames; }

// 7x7 with stride 2 and max pooling with stride 2; or 3x3 alone, for images of some 32 pixels.
enum class Stem : uint8_t { imagenet, small };
inline constexpr Named<Stem> kStemNames[] = {{Stem::imagenet, "imagenet"}, {Stem::small, "small"}};
constexpr std::span<const Named<Stem>> names_of(Stem) { return kStemNames; }

// What backward computes again instead of keeping it from forward: the ReLU outputs within blocks, from the
// convolutions' outputs; or all within blocks, from the blocks' inputs. The same ops on the same inputs: the same bits.
enum class Recompute : uint8_t { none, relu, block };
inline constexpr Named<Recompute> kRecomputeNames[] = {
    {Recompute::none, "none"}, {Recompute::relu, "relu"}, {Recompute::block, "block"}};
constexpr std::span<const Named<Recompute>> names_of(Recompute) { return kRecomputeNames; }

struct Options {
  Preset preset = Preset::none;
  BlockKind block = BlockKind::bottleneck;
  std::vector<int64_t> blocks = {3, 4, 6, 3};  // of each stage
  int64_t width = 64;                          // of the stem and of the first stage; it doubles from stage to stage
  Stem stem = Stem::imagenet;
  ImageOptions image;
  Recompute recompute = Recompute::none;
};

extern const ModelKind kKind;

}  // namespace ddp::resnet
