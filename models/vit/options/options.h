// A vision transformer's part of a configuration: its keys with their presets and checks. Without any device type: the
// launcher links it.
#pragma once

#include "models/image_options.h"
#include "models/transformer_options.h"
#include "runtime/config/config.h"

namespace ddp::vit {

// Sizes as published, under their names; one given beside it wins.
enum class Preset : uint8_t { none, tiny, small, base };
inline constexpr Named<Preset> kPresetNames[] = {
    {Preset::none, ""}, {Preset::tiny, "vit-tiny"}, {Preset::small, "vit-small"}, {Preset::base, "vit-base"}};
constexpr std::span<const Named<Preset>> names_of(Preset) { return kPresetNames; }

struct Options {
  int64_t layers = 12, heads = 3, width = 192;
  int64_t patch = 16;  // pixels
  ImageOptions image;
  Activation activation = Activation::gelu;
  double norm_eps = 1e-6;
  double dropout = 0.0;
  TransformerRecompute recompute = TransformerRecompute::none;
  Preset preset = Preset::none;
};

extern const ModelKind kKind;

}  // namespace ddp::vit
