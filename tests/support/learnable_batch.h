// Batches without a data file: random tokens, each followed by one that depends on it.
#pragma once

#include <algorithm>
#include <numeric>
#include <random>

#include "runtime/data/data_source.h"

namespace ddp::test {

// The same for the same seed; the samples are first_sample, first_sample + 1, ... of the global batch.
inline void fill_learnable(HostBatch& batch, int64_t vocab, uint32_t seed, int32_t first_sample = 0) {
  std::mt19937 random(seed);
  for (size_t i = 0; i < batch.tokens.size(); ++i) {
    batch.tokens[i] = int32_t(random() % uint64_t(vocab));
    batch.targets[i] = int32_t((batch.tokens[i] * 7 + 3) % vocab);
  }
  std::iota(batch.sample_ids.begin(), batch.sample_ids.end(), first_sample);
  std::iota(batch.order.begin(), batch.order.end(), 0);
  std::stable_sort(batch.order.begin(), batch.order.end(),
                   [&](int32_t a, int32_t b) { return batch.tokens[size_t(a)] < batch.tokens[size_t(b)]; });
}

}  // namespace ddp::test
