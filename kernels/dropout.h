// What fixes a dropout mask.
#pragma once

#include <cmath>
#include <cstdint>

namespace ddp {

// Dropout as a pure function of (seed, attempted step, sample, site, element): the same mask for every number of ranks,
// and again in backward without storing it. An element is kept when its 32-bit Philox word >= p * 2^32, and then scaled
// by 1 / (1 - p). Words: philox(key = {seed, *step}, counter = {c0, c1, site << 8 | head, sample}), head < 2^8. Rows of
// C elements: element e of a sample is word e % 4 of c0 = e / 4, c1 = 0, head = 0. Attention: the probability (q, k) is
// word 2 * (q / 8 % 2) + k / 8 % 2 of c0 = q / 16 * 8 + q % 8, c1 = k / 16 * 8 + k % 8.
struct Dropout {
  float p = 0.0f;  // 0: none, the other fields are not read
  uint32_t seed = 0;
  uint32_t site = 0;                    // < 2^24, one for each place in the model
  const uint32_t* step = nullptr;       // device: the attempted step
  const int32_t* sample_ids = nullptr;  // device (B): index of each sample in the global batch
  int64_t num_samples = 0;              // B: a tensor of M rows has M / B rows a sample
};

// Random words from here on keep their element, those below drop it: P(word < first_kept_word(p)) is p, rounded up to a
// multiple of 2^-32. 0 <= p < 1.
inline uint32_t first_kept_word(float p) { return uint32_t(std::ceil(double(p) * 0x1p32)); }

// What a kept element is multiplied by.
inline float kept_scale(float p) { return float(1.0 / (1.0 - double(p))); }

}  // namespace ddp
