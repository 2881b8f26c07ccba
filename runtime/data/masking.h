// Masked language modelling: which tokens of a sample are to be predicted, and what stands in their places. Devlin et
// al., "BERT: pre-training of deep bidirectional transformers", NAACL 2019, section 3.1: 15% of the tokens, of which
// 80% become [MASK], 10% a random token, 10% stay. All that is random about a sample is a function of (seed, epoch,
// sample, position), so that every number of ranks and workers sees the same, and so does a resume.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/data/data_source.h"

namespace ddp {

struct MaskRule {
  std::vector<int32_t> special = {};  // tokens that are never chosen
  int32_t mask = 0;                   // what stands for a token that is to be predicted
  int64_t vocab = 0;                  // a random token is below it
};

// Of `num_tokens`, before there are limits: round(0.15 num_tokens), at least 1.
int64_t num_masked(int64_t num_tokens);

// Chooses n = min(K, tokens that are not special, num_masked(T)) positions of `tokens` (T), every set of so many with
// the same probability, and changes the tokens there. `positions` (K): they, ascending, then -1. `targets` (K): what
// stood there, then -1.
void mask_tokens(const MaskRule& rule, uint64_t seed, const Draw& draw, std::span<int32_t> tokens,
                 std::span<int32_t> positions, std::span<int32_t> targets);

}  // namespace ddp
