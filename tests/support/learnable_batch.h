// Batches without a data file: random tokens, each followed by one that depends on it.
#pragma once

#include <numeric>
#include <random>

#include "runtime/state/batch.h"

namespace ddp::test {

// The same for the same seed; the samples are first_sample, first_sample + 1, ... of the global batch.
inline void fill_learnable(HostBatch& batch, int64_t vocab, uint32_t seed, int32_t first_sample = 0) {
  std::mt19937 random(seed);
  const std::span<int32_t> tokens = batch.values<int32_t>("tokens"), targets = batch.values<int32_t>("targets");
  for (size_t i = 0; i < tokens.size(); ++i) {
    tokens[i] = int32_t(random() % uint64_t(vocab));
    targets[i] = int32_t((tokens[i] * 7 + 3) % vocab);
  }
  std::iota(batch.sample_ids().begin(), batch.sample_ids().end(), first_sample);
  batch.derive();
}

}  // namespace ddp::test
