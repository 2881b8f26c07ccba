// Batches without a data file.
#pragma once

#include <algorithm>
#include <numeric>
#include <random>
#include <span>
#include <vector>

#include "runtime/state/batch.h"

namespace ddp::test {

// Random tokens, each followed by one that depends on it. The same for the same seed; the samples are first_sample,
// first_sample + 1, ... of the global batch.
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

// Distinct positions of each sample, ascending; of every second sample the last place is empty (-1).
inline void fill_positions(const Input& input, std::span<int32_t> positions, std::mt19937& random) {
  const size_t places = size_t(input.sample.numel());
  std::vector<int32_t> all(size_t(input.limit));
  std::iota(all.begin(), all.end(), 0);
  for (size_t begin = 0; begin < positions.size(); begin += places) {
    std::ranges::shuffle(all, random);
    const std::span<int32_t> sample = positions.subspan(begin, places);
    std::ranges::copy_n(all.begin(), int64_t(places), sample.begin());
    std::ranges::sort(sample);
    if (begin / places % 2 == 1) sample.back() = -1;
  }
}

// Random text for masked language modelling: at each of the positions a token that depends on the one that is there.
inline void fill_learnable_text(HostBatch& batch, int64_t vocab, uint32_t seed, int32_t first_sample = 0) {
  std::mt19937 random(seed);
  const std::span<int32_t> targets = batch.values<int32_t>("targets"), positions = batch.values<int32_t>("positions");
  for (int32_t& x : batch.values<int32_t>("tokens")) x = int32_t(random() % uint64_t(vocab));
  for (int32_t& x : batch.values<int32_t>("types")) x = int32_t(random() % 2);
  fill_positions(batch.layout().find("positions")->input, positions, random);
  const size_t places = targets.size() / size_t(batch.layout().num_samples());
  for (size_t i = 0; i < targets.size(); ++i) {
    const std::span<const int32_t> tokens = batch.sample<int32_t>("tokens", int64_t(i / places));
    targets[i] = positions[i] < 0 ? -1 : int32_t((tokens[size_t(positions[i])] * 7 + 3) % vocab);
  }
  std::iota(batch.sample_ids().begin(), batch.sample_ids().end(), first_sample);
  batch.derive();
}

// Random images in stripes, dark and bright, as many as the label says. The rest as above.
inline void fill_learnable_images(HostBatch& batch, int64_t classes, uint32_t seed, int32_t first_sample = 0) {
  std::mt19937 random(seed);
  const std::span<int32_t> labels = batch.values<int32_t>("label");
  const std::span<uint8_t> pixels = batch.values<uint8_t>("image");
  const Shape shape = batch.view("image").shape;  // (N,H,W,C)
  const int64_t row_size = shape[2] * shape[3];
  for (size_t n = 0, at = 0; n < labels.size(); ++n) {
    labels[n] = int32_t(random() % uint64_t(classes));
    for (int64_t i = 0; i < shape[1] * row_size; ++i) {
      const int64_t stripe = i / row_size * (labels[n] + 1) / shape[1];
      pixels[at++] = uint8_t(random() % 128 + (stripe % 2 == 0 ? 0 : 128));
    }
  }
  std::iota(batch.sample_ids().begin(), batch.sample_ids().end(), first_sample);
  batch.derive();
}

// Values of every input that is not derived: integers below their limit, but for those that mean more by their names;
// any bytes, floats of deviation 1.
inline void fill_random(HostBatch& batch, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  for (const BatchLayout::Field& field : batch.layout().fields()) {
    const Input& input = field.input;
    if (input.derive != nullptr || input.name == kSampleIds) continue;
    if (input.dtype == DType::f32) {
      for (float& x : batch.values<float>(input.name)) x = normal(random);
    } else if (input.dtype == DType::u8) {
      for (uint8_t& x : batch.values<uint8_t>(input.name)) x = uint8_t(random());
    } else {
      DDP_CHECK(input.dtype == DType::i32 && input.limit > 0, "no values for input {}", input.name);
      const std::span<int32_t> values = batch.values<int32_t>(input.name);
      const int32_t least = input.name == "lengths" ? 1 : 0;
      if (input.name == "positions")
        fill_positions(input, values, random);
      else
        for (int32_t& x : values) x = least + int32_t(random() % uint64_t(input.limit - least));
    }
  }
  std::iota(batch.sample_ids().begin(), batch.sample_ids().end(), 0);
  batch.derive();
}

}  // namespace ddp::test
