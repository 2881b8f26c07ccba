// Files of every kind decode to what was written into them, any crop is that part of the whole, and threads change
// nothing.
#include <catch2/catch.hpp>
#include <cmath>
#include <random>
#include <thread>

#include "runtime/data/images/picture.h"
#include "tests/data/picture_files.h"
#include "tests/support/failure.h"

using namespace ddp;
using namespace ddp::test;

namespace {

constexpr std::pair<int, int> kSizes[] = {{1, 1}, {7, 5}, {33, 64}, {640, 427}};

std::vector<uint8_t> decode(const FileBytes& file, const Rectangle& crop, int64_t width, int64_t height,
                            int64_t channels, bool flip = false) {
  std::vector<uint8_t> pixels(size_t(width * height * channels), 7);
  PictureScratch scratch;
  decode_crop(file, crop, flip, {pixels.data(), width, height, channels}, scratch);
  return pixels;
}

// Nothing is resized: the decoder's own pixels.
std::vector<uint8_t> decode(const FileBytes& file, const Rectangle& crop, int64_t channels) {
  return decode(file, crop, crop.width, crop.height, channels);
}

Rectangle whole(const FileBytes& file) {
  const PictureSize size = picture_size(file);
  return {0, 0, size.width, size.height};
}

std::vector<uint8_t> part(const std::vector<uint8_t>& pixels, int64_t width, const Rectangle& crop, int64_t channels) {
  std::vector<uint8_t> result;
  for (int64_t y = crop.top; y < crop.top + crop.height; ++y) {
    const auto row = pixels.begin() + (y * width + crop.left) * channels;
    result.insert(result.end(), row, row + crop.width * channels);
  }
  return result;
}

// Of pictures that should be equal. Catch would print each of their values.
size_t num_different(const std::vector<uint8_t>& a, const std::vector<uint8_t>& b) {
  REQUIRE(a.size() == b.size());
  size_t n = 0;
  for (size_t i = 0; i < a.size(); ++i) n += a[i] != b[i];
  return n;
}

double mean_difference(const std::vector<uint8_t>& a, const std::vector<uint8_t>& b) {
  REQUIRE(a.size() == b.size());
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::abs(int(a[i]) - int(b[i]));
  return sum / double(a.size());
}

// As Pillow's convert("L") and, of CMYK as files hold it, convert("RGB").
uint8_t grey(const uint8_t* rgb) { return uint8_t(std::floor(0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2] + 0.5)); }

TestPicture as_rgb(const TestPicture& from) {
  TestPicture to{from.width, from.height, 3, {}};
  for (size_t i = 0; i < from.pixels.size(); i += size_t(from.channels))
    for (size_t c = 0; c < 3; ++c) {
      const uint8_t* const pixel = &from.pixels[i];
      to.pixels.push_back(from.channels == 1   ? pixel[0]
                          : from.channels == 3 ? pixel[c]
                                               : uint8_t(std::lround(pixel[c] * pixel[3] / 255.0)));
    }
  return to;
}

std::vector<uint8_t> as_grey(const TestPicture& rgb) {
  std::vector<uint8_t> result;
  for (size_t i = 0; i < rgb.pixels.size(); i += 3) result.push_back(grey(&rgb.pixels[i]));
  return result;
}

struct Kind {
  const char* name;
  int channels;
  JpegKind jpeg;
  double loss;  // bound of the mean difference that the format itself makes
};
const Kind kJpegKinds[] = {
    {"4:4:4", 3, {.quality = 98, .sampling = 1}, 2},
    {"4:2:0", 3, {.quality = 98}, 9},
    {"progressive 4:2:0", 3, {.quality = 98, .progressive = true}, 9},
    {"restart markers", 3, {.quality = 98, .restart_rows = 1}, 9},
    {"RGB", 3, {.quality = 98, .sampling = 1, .rgb = true}, 2},
    {"grey", 1, {.quality = 98}, 2},
    {"progressive grey", 1, {.quality = 98, .progressive = true}, 2},
    {"CMYK", 4, {.quality = 98, .sampling = 1}, 2},
    {"YCCK 4:2:0", 4, {.quality = 98, .adobe_ycck = true}, 9},
};

// With edges at, before and behind those of blocks, and sizes down to 1.
std::vector<Rectangle> crops(PictureSize size) {
  std::mt19937 random(3);
  const auto below = [&](int64_t n) { return int64_t(random()) % n; };
  std::vector<Rectangle> result;
  for (int i = 0; i < 60; ++i) {
    const int64_t left = below(size.width), top = below(size.height);
    result.push_back({left, top, 1 + below(size.width - left), 1 + below(size.height - top)});
  }
  for (int64_t edge : {15, 16, 17, 31, 32})
    if (edge + 2 < std::min(size.width, size.height)) result.push_back({edge, edge, edge % 3 + 1, 2});
  return result;
}

}  // namespace

TEST_CASE("a JPEG of any kind decodes to what was written, in colour and in grey") {
  for (const auto& [width, height] : kSizes)
    for (const Kind& kind : kJpegKinds) {
      INFO(kind.name << " " << width << "x" << height);
      const TestPicture written = natural_picture(width, height, kind.channels);
      const FileBytes file = write_jpeg(written, kind.jpeg);
      const TestPicture rgb = as_rgb(written);
      CHECK(picture_size(file).width == width);
      CHECK(picture_size(file).height == height);
      CHECK(mean_difference(decode(file, whole(file), 3), rgb.pixels) <= kind.loss);
      CHECK(mean_difference(decode(file, whole(file), 1), as_grey(rgb)) <= kind.loss);
    }
}

TEST_CASE("ink and black become RGB as in Pillow, rounded once") {
  for (int ink = 0; ink < 256; ink += 15)
    for (int black = 0; black < 256; black += 17) {
      TestPicture cmyk{8, 8, 4, {}};  // one colour: the JPEG keeps it exactly
      for (int i = 0; i < 64; ++i)
        for (const int sample : {ink, 255 - ink, 0, black}) cmyk.pixels.push_back(uint8_t(sample));
      const FileBytes file = write_jpeg(cmyk, {.quality = 100, .sampling = 1});
      const auto scaled = [&](int c) { return black - int(std::lround((255 - c) * black / 255.0)); };
      const std::vector<uint8_t> pixels = decode(file, {3, 3, 1, 1}, 3);
      INFO(ink << ", " << black);
      CHECK(int(pixels[0]) == scaled(ink));
      CHECK(int(pixels[1]) == scaled(255 - ink));
      CHECK(int(pixels[2]) == scaled(0));
    }
}

TEST_CASE("a PNG of any kind decodes to exactly what was written") {
  for (const auto& [width, height] : kSizes)
    for (const bool interlaced : {false, true})
      for (const int bits : {8, 16, 4, 2, 1})
        for (const int channels : {1, 2, 3, 4}) {
          if (bits < 8 && channels > 1) continue;
          INFO(width << "x" << height << " x" << channels << ", " << bits << " bits, interlaced " << interlaced);
          const TestPicture written = natural_picture(width, height, channels);
          const FileBytes file = write_png(written, {.bits = bits, .interlaced = interlaced});
          TestPicture rgb{width, height, 3, {}};
          for (size_t i = 0; i < written.pixels.size(); i += size_t(channels))
            for (size_t c = 0; c < 3; ++c) {
              const int sample = written.pixels[i + (channels > 2 ? c : 0)];
              rgb.pixels.push_back(bits < 8 ? uint8_t((sample >> (8 - bits)) * 255 / ((1 << bits) - 1))
                                            : uint8_t(sample));
            }
          CHECK(num_different(decode(file, whole(file), 3), rgb.pixels) == 0);
          CHECK(mean_difference(decode(file, whole(file), 1), as_grey(rgb)) < 0.01);  // luma's 16 bits
        }
}

TEST_CASE("a PNG with a palette decodes to its colours") {
  for (const bool interlaced : {false, true})
    for (const int bits : {8, 4, 1}) {
      const TestPicture written = natural_picture(33, 64, 1);
      const FileBytes file = write_png(written, {.bits = bits, .palette = true, .interlaced = interlaced});
      std::vector<uint8_t> expected;
      for (const uint8_t sample : written.pixels)
        for (int c = 0; c < 3; ++c) expected.push_back(palette_color(sample >> (8 - bits), c));
      CHECK(num_different(decode(file, whole(file), 3), expected) == 0);
    }
}

// Exactly so at the crop's edges too, where chroma is interpolated with samples outside of it: the decoder takes a
// pixel more on both sides.
TEST_CASE("a crop is that part of the whole picture") {
  std::vector<std::pair<std::string, FileBytes>> files;
  for (const Kind& kind : kJpegKinds)
    files.emplace_back(kind.name, write_jpeg(natural_picture(121, 90, kind.channels), kind.jpeg));
  files.emplace_back("PNG", write_png(natural_picture(121, 90, 3)));
  files.emplace_back("interlaced PNG", write_png(natural_picture(121, 90, 4), {.interlaced = true}));
  for (const auto& [name, file] : files)
    for (const int channels : {1, 3}) {
      const std::vector<uint8_t> all = decode(file, whole(file), channels);
      for (const Rectangle& crop : crops(picture_size(file))) {
        INFO(name << " x" << channels << ": " << crop.left << "," << crop.top << " " << crop.width << "x"
                  << crop.height);
        CHECK(num_different(decode(file, crop, channels), part(all, 121, crop, channels)) == 0);
      }
    }
}

// A smaller inverse DCT is not the mean of squares, which the resizing takes it for: on this noise, worse than any
// photograph, the difference is 1.5 in the mean. Pixels half a square off would make it 5.
TEST_CASE("a crop decoded at a half or a quarter of its size is nearly the one decoded in full") {
  const TestPicture written = natural_picture(640, 427, 3);
  const FileBytes file = write_jpeg(written, {.quality = 95});
  const FileBytes full = write_png({640, 427, 3, decode(file, whole(file), 3)});
  for (const Rectangle crop : {Rectangle{0, 0, 640, 427}, {3, 5, 401, 399}, {201, 1, 200, 203}})
    for (const int64_t side : {100, 97, 50, 31}) {
      INFO(crop.left << "," << crop.top << " " << crop.width << "x" << crop.height << " to " << side);
      CHECK(mean_difference(decode(file, crop, side, side, 3), decode(full, crop, side, side, 3)) < 2);
      CHECK(mean_difference(decode(file, crop, side, side, 1), decode(full, crop, side, side, 1)) < 2);
    }
}

TEST_CASE("a mirrored crop is the crop mirrored") {
  const FileBytes file = write_jpeg(natural_picture(121, 90, 3));
  for (const int64_t channels : {1, 3}) {
    const std::vector<uint8_t> straight = decode(file, {10, 20, 70, 50}, 33, 17, channels);
    std::vector<uint8_t> mirrored;
    for (int64_t y = 0; y < 17; ++y)
      for (int64_t x = 32; x >= 0; --x)
        for (int64_t c = 0; c < channels; ++c) mirrored.push_back(straight[size_t((y * 33 + x) * channels + c)]);
    CHECK(num_different(decode(file, {10, 20, 70, 50}, 33, 17, channels, true), mirrored) == 0);
  }
}

TEST_CASE("threads, and what a scratch was used for before, change no bit") {
  std::vector<FileBytes> files;
  for (const Kind& kind : kJpegKinds) files.push_back(write_jpeg(natural_picture(121, 90, kind.channels), kind.jpeg));
  files.push_back(write_png(natural_picture(121, 90, 3), {.interlaced = true}));
  const auto pass = [&] {
    PictureScratch scratch;
    std::vector<std::vector<uint8_t>> results;
    for (const Rectangle& crop : crops({121, 90}))
      for (const FileBytes& file : files) {
        results.emplace_back(24 * 24 * 3);
        decode_crop(file, crop, crop.left % 2 == 0, {results.back().data(), 24, 24, 3}, scratch);
      }
    return results;
  };
  std::vector<std::vector<std::vector<uint8_t>>> of_thread(3);
  std::vector<std::thread> threads;
  for (auto& results : of_thread) threads.emplace_back([&] { results = pass(); });
  for (std::thread& thread : threads) thread.join();
  size_t i = 0;
  for (const Rectangle& crop : crops({121, 90}))
    for (const FileBytes& file : files) {
      const std::vector<uint8_t> alone = decode(file, crop, 24, 24, 3, crop.left % 2 == 0);
      for (const auto& results : of_thread) CHECK(num_different(results[i], alone) == 0);
      ++i;
    }
}
