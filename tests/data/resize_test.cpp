// The resizing against the triangle filter as plain loops in double, over the picture as a whole and in both
// dimensions at once.
#include "runtime/data/images/resize.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "tests/data/picture_files.h"

using namespace ddp;
using namespace ddp::test;

namespace {

double triangle(double distance, double scale) {
  return std::max(0.0, 1.0 - std::abs(distance) / std::max(scale, 1.0));
}

std::vector<double> reference(const TestPicture& from, int width, int height) {
  const double sx = double(from.width) / width, sy = double(from.height) / height;
  std::vector<double> result;
  for (int oy = 0; oy < height; ++oy)
    for (int ox = 0; ox < width; ++ox)
      for (int c = 0; c < from.channels; ++c) {
        double sum = 0, weights = 0;
        for (int y = 0; y < from.height; ++y) {
          const double wy = triangle(y + 0.5 - (oy + 0.5) * sy, sy);
          for (int x = 0; wy > 0 && x < from.width; ++x) {
            const double w = wy * triangle(x + 0.5 - (ox + 0.5) * sx, sx);
            sum += w * from.pixels[size_t((y * from.width + x) * from.channels + c)];
            weights += w;
          }
        }
        result.push_back(sum / weights);
      }
  return result;
}

std::vector<uint8_t> resized(const Pixels& from, int width, int height, bool flip = false) {
  std::vector<uint8_t> pixels(size_t(width * height * from.channels), 99);
  PictureScratch scratch;
  resize(from, flip, {pixels.data(), width, height, from.channels}, scratch);
  return pixels;
}

double largest_difference(const std::vector<uint8_t>& pixels, const std::vector<double>& expected) {
  REQUIRE(pixels.size() == expected.size());
  double largest = 0;
  for (size_t i = 0; i < pixels.size(); ++i) largest = std::max(largest, std::abs(pixels[i] - expected[i]));
  return largest;
}

}  // namespace

TEST_CASE("every size becomes every other one as the triangle filter says, rounded once") {
  constexpr int kSides[] = {1, 2, 7, 33, 64, 100};
  for (const int channels : {1, 3})
    for (const int width : kSides)
      for (const int height : {1, 7, 65}) {
        const TestPicture picture = natural_picture(width, height, channels);
        for (const int to_width : kSides)
          for (const int to_height : {1, 13, 40}) {
            INFO(width << "x" << height << "x" << channels << " to " << to_width << "x" << to_height);
            const Pixels from{picture.pixels.data(), width, height, channels};
            CHECK(largest_difference(resized(from, to_width, to_height), reference(picture, to_width, to_height)) <
                  0.501);
          }
      }
}

TEST_CASE("black and white stay what they are") {
  for (const int value : {0, 255}) {
    const std::vector<uint8_t> pixels(640 * 427, uint8_t(value));
    for (const int side : {1, 97, 224, 640})
      CHECK(largest_difference(resized({pixels.data(), 640, 427, 1}, side, side),
                               std::vector<double>(size_t(side * side), value)) == 0);
  }
}

// Pixels repeated in squares are their squares' means: then the reduced picture resizes to the same as the full one,
// wherever the crop cuts a square.
TEST_CASE("a reduced picture is resized as the one that it stands for") {
  for (const int reduction : {2, 4}) {
    const TestPicture small = natural_picture(40, 30, 3);
    TestPicture full{40 * reduction, 30 * reduction, 3, {}};
    for (int y = 0; y < full.height; ++y)
      for (int x = 0; x < full.width; ++x)
        for (int c = 0; c < 3; ++c)
          full.pixels.push_back(small.pixels[size_t((y / reduction * 40 + x / reduction) * 3 + c)]);
    for (int left = 0; left < reduction; ++left)
      for (int right = 0; right < reduction; ++right) {
        const int width = full.width - left - right, height = full.height - left - right;
        const Pixels of_full{full.pixels.data() + (left * full.width + left) * 3, width, height, 3, full.width * 3};
        const Pixels of_small{small.pixels.data(), width, height, 3, 40 * 3, reduction, left, left};
        for (const int side : {5, 17, 30}) {
          const std::vector<uint8_t> expected = resized(of_full, side, side), got = resized(of_small, side, side);
          CHECK(largest_difference(got, {expected.begin(), expected.end()}) <= 1);
        }
      }
  }
}

TEST_CASE("what lies beside the crop does not matter") {
  TestPicture picture = natural_picture(60, 50, 3);
  const Pixels crop{picture.pixels.data() + (10 * 60 + 10) * 3, 21, 33, 3, 60 * 3};
  const std::vector<uint8_t> before = resized(crop, 16, 16);
  for (int y = 0; y < 50; ++y)
    for (int x = 0; x < 60; ++x)
      if (x < 10 || x >= 31 || y < 10 || y >= 43)
        for (int c = 0; c < 3; ++c) picture.pixels[size_t((y * 60 + x) * 3 + c)] ^= 0xFF;
  CHECK(resized(crop, 16, 16) == before);
}

TEST_CASE("once the scratch has seen the largest picture nothing is allocated") {
  const TestPicture picture = natural_picture(300, 200, 3);
  std::vector<uint8_t> pixels(64 * 64 * 3);
  PictureScratch scratch;
  const auto places = [&] {
    return std::vector<const void*>{scratch.line.data(), scratch.columns.weights.data(), scratch.columns.first.data(),
                                    scratch.rows.weights.data(), scratch.rows.count.data()};
  };
  const auto resize_crop = [&](int64_t width, int64_t height) {
    resize({picture.pixels.data(), width, height, 3, 300 * 3}, false, {pixels.data(), 64, 64, 3}, scratch);
  };
  resize_crop(300, 200);
  const auto before = places();
  for (const int64_t size : {1, 64, 100, 200}) resize_crop(size, size);
  resize_crop(300, 200);
  CHECK(places() == before);
}
