// The order of training samples: an epoch is a permutation of [0, n) that is computed, not stored, so that a run can
// start at any step in O(1) with no memory, and the order depends on (seed, epoch, position) alone: not on ranks,
// threads or resumes. A stored shuffle costs 8 bytes a sample and minutes to rebuild; an LCG or a stride is no shuffle.
//
// Feistel network over the smallest power of two that holds n, with Philox as round function; a result outside [0, n)
// is permuted again until it falls inside ("cycle walking", Black and Rogaway, CT-RSA 2002): under two rounds on
// average.
#pragma once

#include <cstdint>

namespace ddp {

// The sample at `position` of an epoch; a bijection of [0, num_samples) for every (seed, epoch). 0 <= position <
// num_samples.
int64_t sample_index(uint64_t seed, uint64_t epoch, int64_t position, int64_t num_samples);

}  // namespace ddp
