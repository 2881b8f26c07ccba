#include "runtime/data/synthetic_images.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

#include "tests/support/failure.h"

using namespace ddp;
using namespace ddp::test;

namespace {

constexpr int64_t kSide = 9, kChannels = 3, kClasses = 5;

BatchLayout layout_of(int64_t n) {
  return {{{.name = "image", .dtype = DType::u8, .sample = {kSide, kSide, kChannels}},
           {.name = "label", .sample = {}, .limit = kClasses, .is_target = true}},
          n};
}

std::vector<uint8_t> image_at(const DataSource& source, uint64_t position) {
  const BatchLayout layout = layout_of(1);
  HostBatch batch(layout);
  source.fill(batch, position);
  const std::span<uint8_t> image = batch.sample<uint8_t>("image", 0);
  return {image.begin(), image.end()};
}

double distance(const std::vector<uint8_t>& a, const std::vector<uint8_t>& b) {
  double squares = 0;
  for (size_t i = 0; i < a.size(); ++i) squares += std::pow(double(a[i]) - double(b[i]), 2);
  return std::sqrt(squares / double(a.size()));
}

// Of 400 images of a class, from the `first` on.
double mean_red(const DataSource& source, uint64_t label, uint64_t first) {
  double sum = 0;
  for (uint64_t i = first; i < first + 400; ++i) {
    const std::vector<uint8_t> image = image_at(source, i * kClasses + label);
    for (size_t at = 0; at < image.size(); at += kChannels) sum += image[at];
  }
  return sum / (400.0 * kSide * kSide);
}

}  // namespace

TEST_CASE("synthetic images: a position has its image in any batch, and each epoch has each once") {
  const BatchLayout layout = layout_of(4);
  const auto source = open_synthetic({.paths = {"10"}, .split = Split::train, .seed = 3, .batch = layout});
  CHECK(source->num_samples() == 10);
  HostBatch batch(layout);
  source->fill(batch, 6);
  for (int64_t i = 0; i < 4; ++i) {
    const std::span<uint8_t> image = batch.sample<uint8_t>("image", i);
    CHECK(std::ranges::equal(image, image_at(*source, 6 + uint64_t(i))));
  }
  std::vector<std::vector<uint8_t>> first, second;
  for (uint64_t p = 0; p < 10; ++p) first.push_back(image_at(*source, p)), second.push_back(image_at(*source, 10 + p));
  CHECK(first != second);  // another order
  std::ranges::sort(first);
  std::ranges::sort(second);
  CHECK(first == second);
}

TEST_CASE("synthetic images: evaluation has others, which look as their class") {
  const BatchLayout layout = layout_of(1);
  const auto source_of = [&](Split split) {
    return open_synthetic({.paths = {"5000"}, .split = split, .seed = 3, .batch = layout});
  };
  const auto valid = source_of(Split::valid);
  HostBatch batch(layout);
  valid->fill(batch, 7);
  CHECK(batch.values<int32_t>("label")[0] == 7 % kClasses);
  const std::vector<uint8_t> image = image_at(*valid, 7);
  const auto train = source_of(Split::train);
  uint64_t place = 0;  // of sample 7 in training
  while (train->draw(place).sample != 7) ++place;
  CHECK(distance(image, image_at(*train, place)) > 10.0);
  // A class has its colour: the mean of some hundred of its images, on which two sets of them agree.
  double within = 0, between = 0;
  for (uint64_t c = 0; c < kClasses; ++c) {
    within = std::max(within, std::abs(mean_red(*valid, c, 0) - mean_red(*valid, c, 400)));
    between = std::max(between, std::abs(mean_red(*valid, c, 0) - mean_red(*valid, 0, 0)));
  }
  CAPTURE(within, between);
  CHECK(within < 2.0);
  CHECK(between > 4.0);
}

TEST_CASE("synthetic images: what is no number of samples is refused") {
  const BatchLayout layout = layout_of(1);
  for (const char* path : {"", "0", "-1", "many", "1e3", "99999999999"}) {
    CAPTURE(path);
    const Failure f = failure_of([&] { open_synthetic({.paths = {path}, .batch = layout}); });
    CHECK(f.code == 78);
    CHECK_THAT(f.message, Catch::Contains("number of samples"));
  }
}
