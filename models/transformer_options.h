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

// The keys of `Options`' members of these names: sizes and dropout of the section "model", recompute of "train".
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
inline constexpr Field kDropoutKey = {.key = "dropout",
                                      .at = option<Options, &Options::dropout>,
                                      .range = {.min = 0, .max = 1, .without_max = true},
                                      .meaning = "probability with which an activation is dropped in training"};
template <class Options>
inline constexpr Field kTransformerRecomputeKey = {
    .key = "recompute",
    .at = option<Options, &Options::recompute>,
    .resume_may_change = true,
    .meaning =
        "what backward computes again instead of keeping it: gelu and gelu+ln cost about 1% of a step, block one "
        "more forward. The same bits in all"};

// That the width is whole heads. Errors: config (78) with the values that would work.
void check_whole_heads(int64_t width, int64_t heads);

}  // namespace ddp
