// What the options of transformers have in common. Without any device type: the launcher links it.
#pragma once

#include "runtime/config/fields.h"

namespace ddp {

// What backward computes again instead of keeping it from forward. Per row of C elements a block keeps 16 C with none,
// 12 C with gelu, 10 C with gelu_ln, 1 C with block. The same ops on the same inputs: the same bits in all.
enum class TransformerRecompute : uint8_t { none, gelu, gelu_ln, block };
inline constexpr Named<TransformerRecompute> kTransformerRecomputeNames[] = {{TransformerRecompute::none, "none"},
                                                                             {TransformerRecompute::gelu, "gelu"},
                                                                             {TransformerRecompute::gelu_ln, "gelu+ln"},
                                                                             {TransformerRecompute::block, "block"}};
constexpr std::span<const Named<TransformerRecompute>> names_of(TransformerRecompute) {
  return kTransformerRecomputeNames;
}

// What stands between the two linear layers of a block, under transformers' names. gelu_new: the tanh form; gelu: the
// erf form.
enum class Activation : uint8_t { gelu_new, gelu, relu, tanh };
inline constexpr Named<Activation> kActivationNames[] = {{Activation::gelu_new, "gelu_new"},
                                                         {Activation::gelu, "gelu"},
                                                         {Activation::relu, "relu"},
                                                         {Activation::tanh, "tanh"}};
constexpr std::span<const Named<Activation>> names_of(Activation) { return kActivationNames; }

// The keys of `Options`' members of these names: recompute of the section "train", the others of "model".
template <class Options>
inline constexpr Field kLayersKey = {.key = "layers",
                                     .at = option<Options, &Options::layers>,
                                     .unit = "blocks",
                                     .range = {1, 1000},
                                     .meaning = "transformer blocks"};
template <class Options>
inline constexpr Field kHeadsKey = {.key = "heads",
                                    .at = option<Options, &Options::heads>,
                                    .unit = "heads",
                                    .range = {1, 256},
                                    .meaning = "attention heads; must divide width"};
template <class Options>
inline constexpr Field kWidthKey = {.key = "width",
                                    .at = option<Options, &Options::width>,
                                    .unit = "channels",
                                    .range = {1, 65536},
                                    .meaning = "channels of the residual stream"};
template <class Options>
inline constexpr Field kMlpWidthKey = {.key = "mlp_width",
                                       .at = option<Options, &Options::mlp_width>,
                                       .unit = "channels",
                                       .range = {0, 262144},
                                       .meaning = "channels between the two linear layers of a block; 0: 4 x width"};
template <class Options>
inline constexpr Field kActivationKey = {.key = "activation",
                                         .at = option<Options, &Options::activation>,
                                         .meaning =
                                             "the function between the two linear layers of a block; gelu_new: GELU in "
                                             "the tanh form, gelu: in the erf form"};
template <class Options>
inline constexpr Field kNormEpsKey = {.key = "norm_eps",
                                      .at = option<Options, &Options::norm_eps>,
                                      .range = {1e-30, 1},
                                      .meaning = "what a layer norm adds to the variance"};
template <class Options>
inline constexpr Field kDropoutKey = {.key = "dropout",
                                      .at = option<Options, &Options::dropout>,
                                      .range = {.min = 0, .max = 1, .without_max = true},
                                      .on_purpose = true,
                                      .meaning = "probability with which an activation is dropped in training"};
template <class Options>
inline constexpr Field kTransformerRecomputeKey = {
    .key = "recompute",
    .at = option<Options, &Options::recompute>,
    .resume_may_change = true,
    .meaning =
        "what backward computes again instead of keeping it: gelu and gelu+ln cost about 1% of a step, block one "
        "more forward. The same bits in all"};

// Of options whose mlp_width may say that it follows from the width.
template <class Options>
constexpr int64_t mlp_width_of(const Options& options) {
  return options.mlp_width == 0 ? 4 * options.width : options.mlp_width;
}

// That the width is whole heads. Errors: config (78) with the values that would work.
void check_whole_heads(int64_t width, int64_t heads);

}  // namespace ddp
