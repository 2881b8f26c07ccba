// What a training sample shows of its picture: the same for the same coordinates, spread as data.augment says.
#include "runtime/data/images/view.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <map>

#include "tests/data/pictures.h"

using namespace ddp;
using namespace ddp::test;

namespace {

constexpr int64_t kSide = 32;
constexpr PictureSize kPicture{500, 375};
constexpr Rectangle kSeen{86, 23, 328, 328};

Views views(Augment augment, Split split = Split::train, uint64_t seed = 7) {
  const BatchLayout layout = image_layout(1, kSide, 3, 10);
  return Views({.split = split, .seed = seed, .batch = layout, .augment = augment});
}

auto values(const View& v) {
  return std::array{v.crop.left, v.crop.top, v.crop.width, v.crop.height, int64_t(v.flip), v.down, v.right};
}

}  // namespace

TEST_CASE("a view depends on seed, epoch and sample, on all their bits, and on nothing else") {
  const Views ours = views(Augment::resized_crop);
  const auto at = [&](const Views& v, uint64_t epoch, int64_t sample) {
    return values(v.view(kPicture, kSeen, {epoch, sample}));
  };
  CHECK(at(ours, 3, 5) == at(views(Augment::resized_crop), 3, 5));
  for (const uint64_t bit : {0, 1, 31, 32, 63})
    CHECK(at(ours, 3, 5) != at(views(Augment::resized_crop, Split::train, 7 ^ (uint64_t{1} << bit)), 3, 5));
  for (const uint64_t bit : {0, 1, 31}) CHECK(at(ours, 3, 5) != at(ours, 3 ^ (uint64_t{1} << bit), 5));
  for (const uint64_t bit : {0, 1, 31, 32, 40}) CHECK(at(ours, 3, 5) != at(ours, 3, 5 ^ (int64_t{1} << bit)));
  CHECK(at(ours, 1, 2) == std::array<int64_t, 7>{136, 24, 308, 348, 0, 0, 0});  // for all time: a later build resumes
}

TEST_CASE("evaluation, and augment none, show what evaluation sees") {
  for (int64_t i = 0; i < 20; ++i) {
    CHECK(values(views(Augment::none).view(kPicture, kSeen, {1, i})) == values({.crop = kSeen}));
    CHECK(values(views(Augment::resized_crop, Split::valid).view(kPicture, kSeen, {0, i})) == values({.crop = kSeen}));
  }
}

TEST_CASE("evaluation sees the largest centred square, where training magnifies 224/256 of its side") {
  for (const Split split : {Split::train, Split::valid})
    for (const Augment augment : {Augment::none, Augment::flip, Augment::shift})
      CHECK(values({.crop = views(augment, split).centre_square(kPicture)}) == values({.crop = {62, 0, 375, 375}}));
  const auto is = [](const PictureSize& size, const Rectangle& r) {
    return values({.crop = views(Augment::resized_crop, Split::valid).centre_square(size)}) == values({.crop = r});
  };
  CHECK(is({256, 256}, {16, 16, 224, 224}));
  CHECK(is({500, 375}, {86, 23, 328, 328}));
  CHECK(is({1, 1}, {0, 0, 1, 1}));
  CHECK(is({1, 1000}, {0, 499, 1, 1}));
  CHECK(is({3, 2}, {0, 0, 2, 2}));
}

TEST_CASE("every other picture is mirrored, and moves are even over an eighth of the sides each way") {
  constexpr int kDraws = 9000;
  for (const Augment augment : {Augment::flip, Augment::shift, Augment::resized_crop}) {
    int flips = 0;
    std::map<int64_t, int> downs, rights;
    const Views v = views(augment);
    for (int64_t i = 0; i < kDraws; ++i) {
      const View view = v.view({kSide, kSide}, {0, 0, kSide, kSide}, {uint64_t(i) / 100, i % 100});
      flips += int(view.flip);
      ++downs[view.down], ++rights[view.right];
    }
    CHECK(std::abs(flips - kDraws / 2) < 250);  // 5 deviations
    for (const auto& counts : {downs, rights}) {
      if (augment != Augment::shift) {
        CHECK(counts == std::map<int64_t, int>{{0, kDraws}});
        continue;
      }
      CHECK(counts.begin()->first == -kSide / 8);
      CHECK(counts.rbegin()->first == kSide / 8);
      for (const auto& [by, n] : counts) CHECK(std::abs(n - kDraws / 9) < 150);
    }
  }
}

TEST_CASE("a random crop lies in its picture, and area and ratio are spread as torchvision spreads them") {
  for (const PictureSize size : {PictureSize{500, 375}, {64, 64}, {33, 100}, {7, 7}}) {
    const Views v = views(Augment::resized_crop);
    const double whole = double(size.width * size.height);
    double areas = 0, log_ratios = 0, smallest = 1, largest = 0;
    constexpr int kDraws = 4000;
    for (int64_t i = 0; i < kDraws; ++i) {
      const Rectangle r = v.view(size, {0, 0, 1, 1}, {0, i}).crop;
      REQUIRE((r.left >= 0 && r.top >= 0 && r.width >= 1 && r.height >= 1));
      REQUIRE((r.left + r.width <= size.width && r.top + r.height <= size.height));
      const double area = double(r.width * r.height) / whole;
      smallest = std::min(smallest, area), largest = std::max(largest, area);
      areas += area, log_ratios += std::log(double(r.width) / double(r.height));
    }
    CAPTURE(size.width, size.height, areas / kDraws, log_ratios / kDraws);
    CHECK(smallest < 0.11);
    CHECK(smallest > 0.03);  // 8%, of a side rounded to pixels
    if (size.width == 64) {
      // Of the areas above 3/4 only part of the ratios fit, -ln area / ln 4/3 of them: the integral is 0.478.
      CHECK(std::abs(areas / kDraws - 0.478) < 0.02);
      CHECK(std::abs(log_ratios / kDraws) < 0.02);
      CHECK(largest > 0.97);
    }
  }
}

TEST_CASE("a picture in which no such crop fits shows the largest centred one of its ratio") {
  const auto crop = [](const PictureSize& size) {
    return values({.crop = views(Augment::resized_crop).view(size, {}, {0, 1}).crop});
  };
  CHECK(crop({3000, 30}) == std::array<int64_t, 7>{1480, 0, 40, 30, 0, 0, 0});
  CHECK(crop({30, 3000}) == std::array<int64_t, 7>{0, 1480, 30, 40, 0, 0, 0});
  CHECK(crop({1, 1}) == std::array<int64_t, 7>{0, 0, 1, 1, 0, 0, 0});
}

TEST_CASE("shift moves every pixel and lets zeros in") {
  for (const int64_t channels : {1, 3})
    for (const auto& [height, width] : {std::pair<int64_t, int64_t>{7, 5}, {1, 1}, {4, 9}})
      for (int64_t down = -height - 1; down <= height + 1; ++down)
        for (int64_t right = -width - 1; right <= width + 1; ++right) {
          const std::string before = random_bytes(size_t(height * width * channels), 3);
          std::vector<uint8_t> pixels(before.begin(), before.end()), expected(pixels.size());
          for (int64_t y = 0; y < height; ++y)
            for (int64_t x = 0; x < width; ++x)
              for (int64_t c = 0; c < channels; ++c)
                if (y + down >= 0 && y + down < height && x + right >= 0 && x + right < width)
                  expected[size_t(((y + down) * width + x + right) * channels + c)] =
                      pixels[size_t((y * width + x) * channels + c)];
          shift({pixels.data(), width, height, channels}, down, right);
          REQUIRE(pixels == expected);
        }
}
