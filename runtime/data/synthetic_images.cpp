#include "runtime/data/synthetic_images.h"

#include <fmt/core.h>

#include <algorithm>

#include "runtime/base/error.h"
#include "runtime/base/number.h"
#include "runtime/base/philox.h"

namespace ddp {
namespace {

constexpr uint32_t kPattern = 1, kSample = 2, kNoise = 3;  // streams of draws
constexpr int64_t kCells = 4;                              // of a pattern, along a side
constexpr int kPatternSpread = 32, kNoiseSpread = 100;     // of values around 128

// Evenly from -spread to spread.
int around_zero(uint32_t word, int spread) { return int(uint64_t(word) * uint64_t(2 * spread + 1) >> 32) - spread; }

}  // namespace

SyntheticImages::SyntheticImages(int64_t num_samples, const SourceRequest& request)
    : DataSource(request.split, request.seed),
      num_samples_(num_samples),
      classes_(request.batch.find("label")->input.limit) {}

std::string SyntheticImages::fingerprint() const { return fmt::format("{} synthetic images", num_samples_); }

void SyntheticImages::fill_sample(HostBatch& batch, int64_t i, const Draw& draw) const {
  const TensorView image = batch.view("image");
  const int64_t height = image.dim(1), width = image.dim(2), channels = image.dim(3);
  const int64_t label = draw.sample % classes_;
  const auto sample = uint32_t(draw.sample), split = uint32_t(this->split());
  const Philox4 r = philox(kSample, split, sample, 0, 0, 0);
  const int64_t down = int64_t(r.word[0] % uint32_t(height)), right = int64_t(r.word[1] % uint32_t(width));

  int pattern[kCells][kCells][4];
  for (int64_t row = 0; row < kCells; ++row)
    for (int64_t column = 0; column < kCells; ++column) {
      const Philox4 p = philox(kPattern, 0, uint32_t(label), uint32_t(row), uint32_t(column), 0);
      for (size_t c = 0; c < 4; ++c) pattern[row][column][c] = around_zero(p.word[c], kPatternSpread);
    }
  uint8_t* out = batch.sample<uint8_t>("image", i).data();
  for (int64_t row = 0; row < height; ++row)
    for (int64_t column = 0; column < width; ++column) {
      const auto& cell = pattern[(row + down) % height * kCells / height][(column + right) % width * kCells / width];
      const Philox4 noise = philox(kNoise, split, sample, uint32_t(row), uint32_t(column), 0);
      for (int64_t c = 0; c < channels; ++c)
        *out++ = uint8_t(std::clamp(128 + cell[c] + around_zero(noise.word[c], kNoiseSpread), 0, 255));
    }
  batch.sample<int32_t>("label", i)[0] = int32_t(label);
}

std::unique_ptr<DataSource> open_synthetic(const SourceRequest& request) {
  const std::optional<int64_t> n = parse_number<int64_t>(request.path().string());
  if (!n || *n < 1 || *n > UINT32_MAX)
    throw Error(ExitCode::config,
                fmt::format("{} is no number of samples, which data.format synthetic takes in the place of a path",
                            request.path().string()),
                "give one, as data.train: 50000");
  return std::make_unique<SyntheticImages>(*n, request);
}

}  // namespace ddp
