// The model that mixed precision is measured on: what a simulated GPU trains in seconds, with heads of 64 and padding
// columns.
#pragma once

#include <string>

#include "models/gpt2/gpt2.h"
#include "tests/support/gpt2_config.h"
#include "tests/support/step_runner.h"

namespace ddp::test {

constexpr int64_t kSmallContext = 64, kSmallSamples = 2, kSmallVocab = 250;

inline gpt2::Options small_options(double dropout = 0.0) {
  return {.layers = 2, .heads = 2, .width = 128, .context = kSmallContext, .vocab = kSmallVocab, .dropout = dropout};
}

inline gpt2::Gpt2 small_gpt2(float dropout = 0.0f, int64_t logits_rows = 256) {
  return gpt2::Gpt2(small_options(dropout), logits_rows);
}

// Two micro-steps, so that gradients are summed in f32 too.
inline Config small_config(PrecisionName precision) {
  Config config = gpt2_config(small_options());
  config.train.precision = precision;
  config.train.steps = 50;
  config.train.micro_batch = 1;
  config.train.global_batch = kSmallSamples;
  config.train.bucket_mb = 0.25;
  config.optimizer.lr = 1e-3;
  config.schedule.warmup_steps = 20;
  return config;
}

}  // namespace ddp::test
