// A file that is not what it should be ends as an Error of one line, whatever is wrong with it.
#include <sys/resource.h>
#include <zlib.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <random>
#include <string_view>

#include "runtime/data/images/picture.h"
#include "tests/data/picture_files.h"
#include "tests/support/failure.h"
#include "tests/support/mutated.h"

using namespace ddp;
using namespace ddp::test;
using Catch::Contains;

namespace {

FileBytes bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

void write_big_endian(FileBytes& file, size_t at, uint32_t value) {
  for (size_t i = 0; i < 4; ++i) file[at + i] = std::byte(value >> (24 - 8 * i));
}

// Checksums of a PNG as its chunks are now, without which a change to one is found before it is read.
void fix_checksums(FileBytes& png) {
  for (size_t begin = 8; begin + 12 <= png.size();) {
    size_t length = 0;
    for (size_t i = 0; i < 4; ++i) length = length << 8 | size_t(png[begin + i]);
    const size_t end = begin + 8 + length;
    if (end + 4 > png.size()) return;
    const auto* const body = reinterpret_cast<const Bytef*>(png.data()) + begin + 4;
    write_big_endian(png, end, uint32_t(crc32(0, body, uInt(length + 4))));
    begin = end + 4;
  }
}

// Of the whole picture, to 16 x 16.
Failure failure_to_decode(const FileBytes& file) {
  return failure_of([&] {
    const PictureSize size = picture_size(file);
    std::vector<uint8_t> pixels(16 * 16 * 3);
    PictureScratch scratch;
    decode_crop(file, {0, 0, size.width, size.height}, false, {pixels.data(), 16, 16, 3}, scratch);
  });
}

void check_refused(const Failure& failure) {
  INFO(failure.message);
  CHECK(failure.code == 65);
  CHECK(failure.message.find('\n') == std::string::npos);
  CHECK_FALSE(failure.message.empty());
}

std::vector<FileBytes> good_files() {
  const auto picture = [](int channels) { return natural_picture(41, 37, channels); };
  return {
      write_jpeg(picture(3)),
      write_jpeg(picture(3), {.progressive = true}),
      write_jpeg(picture(3), {.restart_rows = 1}),
      write_jpeg(picture(1)),
      write_jpeg(picture(4), {.adobe_ycck = true}),
      write_png(picture(3)),
      write_png(picture(4), {.bits = 16, .interlaced = true}),
      write_png(picture(1), {.bits = 4, .palette = true}),
  };
}

}  // namespace

TEST_CASE("a picture that ends early is refused at every length") {
  for (const FileBytes& file : good_files()) {
    REQUIRE(failure_to_decode(file).code == 0);
    for (size_t length = 0; length < file.size(); ++length) {
      INFO(length << " of " << file.size() << " bytes");
      check_refused(failure_to_decode({file.begin(), file.begin() + std::ptrdiff_t(length)}));
    }
  }
}

TEST_CASE("what is no picture says so") {
  CHECK_THAT(failure_to_decode({}).message, Contains("empty"));
  CHECK_THAT(failure_to_decode(bytes_of("a text that is called photograph.jpg")).message,
             Contains("neither a JPEG nor a PNG"));
  CHECK_THAT(failure_to_decode(bytes_of("GIF89a")).message, Contains("neither"));
  check_refused(failure_to_decode(bytes_of("\xFF\xD8\xFF")));
}

TEST_CASE("a size that the file cannot hold is refused by its header") {
  FileBytes jpeg = write_jpeg(natural_picture(7, 5, 1)), png = write_png(natural_picture(7, 5, 3));
  size_t frame = 0;  // SOF0: marker, length, precision, then height and width
  while (!(jpeg[frame] == std::byte{0xFF} && jpeg[frame + 1] == std::byte{0xC0})) ++frame;
  const auto with_size = [&](uint16_t width, uint16_t height) {
    write_big_endian(jpeg, frame + 5, uint32_t(height) << 16 | width);
    write_big_endian(png, 16, width);
    write_big_endian(png, 20, height);
    fix_checksums(png);
    return std::vector<FileBytes>{jpeg, png};
  };
  for (const FileBytes& file : with_size(7, 5)) CHECK(failure_to_decode(file).code == 0);
  for (const FileBytes& file : with_size(65'500, 65'400)) {
    check_refused(failure_to_decode(file));
    CHECK_THAT(failure_to_decode(file).message, Contains("65500 x 65400 pixels: more than 100 million"));
  }
  for (const FileBytes& file : with_size(9'000, 8'000)) {
    check_refused(failure_to_decode(file));
    CHECK_THAT(failure_to_decode(file).message, Contains("9000 x 8000 pixels in a file of"));
  }
  for (const FileBytes& file : with_size(0, 5)) check_refused(failure_to_decode(file));
  for (const FileBytes& file : with_size(8, 50)) check_refused(failure_to_decode(file));  // fits, but ends early
}

TEST_CASE("junk before a marker, of which photographs are full, is no error") {
  FileBytes file = write_jpeg(natural_picture(41, 37, 3));
  file.insert(file.end() - 2, 100, std::byte{0x55});
  CHECK(failure_to_decode(file).code == 0);
}

TEST_CASE("texts in a PNG are passed over, however much they would inflate to") {
  constexpr size_t kInflated = 7'000'000, kTexts = 300, kAfterHeader = 33;
  uLongf size = compressBound(kInflated);
  FileBytes deflated(size);
  const std::vector<Bytef> zeros(kInflated);
  REQUIRE(compress(reinterpret_cast<Bytef*>(deflated.data()), &size, zeros.data(), zeros.size()) == Z_OK);
  deflated.resize(size);
  FileBytes chunk(4), texts;
  write_big_endian(chunk, 0, uint32_t(size + 3));
  for (const char c : {'z', 'T', 'X', 't', 'k', '\0', '\0'}) chunk.push_back(std::byte(c));
  chunk.insert(chunk.end(), deflated.begin(), deflated.end());
  chunk.resize(chunk.size() + 4);
  for (size_t i = 0; i < kTexts; ++i) texts.insert(texts.end(), chunk.begin(), chunk.end());
  FileBytes file = write_png(natural_picture(41, 37, 3));
  file.insert(file.begin() + kAfterHeader, texts.begin(), texts.end());
  fix_checksums(file);
  struct rusage before {
  }, after{};
  ::getrusage(RUSAGE_SELF, &before);
  CHECK(failure_to_decode(file).code == 0);
  ::getrusage(RUSAGE_SELF, &after);
  CHECK(after.ru_maxrss - before.ru_maxrss < 100'000);  // KiB, of 2 GB
}

// Under ASan and UBSan it finds what a stranger's file could do.
TEST_CASE("mutated pictures decode or are refused, the same way twice") {
  const int tries = num_mutations();
  const std::vector<FileBytes> files = good_files();
  PictureScratch scratch;
  int refused = 0;
  for (int i = 0; i < tries; ++i) {
    INFO("try " << i);
    std::mt19937 random{unsigned(i)};
    FileBytes file = mutated(files[size_t(i) % files.size()], random, {.header_bytes = 700});
    if (random() % 4 != 0) fix_checksums(file);  // in a JPEG there is nothing that reads as a chunk
    const auto decode = [&, crop_seed = random()](std::vector<uint8_t>& pixels) {
      return failure_of([&] {
        const PictureSize size = picture_size(file);
        std::mt19937 draws(crop_seed);
        const int64_t left = int64_t(draws()) % size.width, top = int64_t(draws()) % size.height;
        const int64_t width = 1 + int64_t(draws()) % (size.width - left), channels = draws() % 2 == 0 ? 1 : 3;
        const int64_t height = 1 + int64_t(draws()) % (size.height - top);
        decode_crop(file, {left, top, width, height}, false, {pixels.data(), 8, 8, channels}, scratch);
      });
    };
    std::vector<uint8_t> first(8 * 8 * 3), second(8 * 8 * 3);
    const Failure failure = decode(first);
    // What was left in memory must not show.
    std::fill(scratch.pixels.begin(), scratch.pixels.end(), uint8_t{0xA5});
    std::fill(scratch.row.begin(), scratch.row.end(), uint8_t{0x5A});
    CHECK(decode(second).message == failure.message);
    if (failure.code == 0) {
      CHECK(first == second);
    } else {
      check_refused(failure);
      ++refused;
    }
  }
  CHECK(refused > tries / 4);
  CHECK(refused < tries);
}
