// What the options of transformers have in common. Without any device type: the launcher links it.
#pragma once

#include <string_view>

#include "runtime/config/choices.h"

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
// The meaning of its key.
inline constexpr std::string_view kTransformerRecomputeMeaning =
    "what backward computes again instead of keeping it: gelu and gelu+ln cost about 1% of a step, block one more "
    "forward. The same bits in all";

// That the width is whole heads. Errors: config (78) with the values that would work.
void check_whole_heads(int64_t width, int64_t heads);

}  // namespace ddp
