// GPT-2's part of a configuration: its keys with their presets and checks, what train.recompute means for it, and the
// names under which its parameters are saved. Without any device type: the launcher links it.
#pragma once

#include "models/transformer_options.h"
#include "runtime/config/config.h"
#include "runtime/config/saved_names.h"

namespace ddp::gpt2 {

// Sizes as published, under their names; a size given beside it wins.
enum class Preset : uint8_t { none, small, medium, large, xl };
inline constexpr Named<Preset> kPresetNames[] = {{Preset::none, ""},
                                                 {Preset::small, "gpt2-small"},
                                                 {Preset::small, "gpt2"},
                                                 {Preset::medium, "gpt2-medium"},
                                                 {Preset::large, "gpt2-large"},
                                                 {Preset::xl, "gpt2-xl"}};
constexpr std::span<const Named<Preset>> names_of(Preset) { return kPresetNames; }

struct Options {
  int64_t layers = 12, heads = 12, width = 768, mlp_width = 0, context = 1024;
  int64_t vocab = 50257;  // live tokens; the padding behind them is masked and not saved
  Activation activation = Activation::gelu_new;
  double norm_eps = 1e-5;
  double dropout = 0.0;
  bool tie_embeddings = true;
  TransformerRecompute recompute = TransformerRecompute::none;
  Preset preset = Preset::none;
};

// Hugging Face's names are the parameters' own, behind "transformer." in the files of an untied model. Theirs may say
// that before any, and carry attention masks and, where it is tied, the classifier.
SavedNames saved_names(const Options& options);

extern const ModelKind kKind;

}  // namespace ddp::gpt2
