// Files of pictures as the formats lay them out, and what a source makes of them.
#pragma once

#include <zlib.h>

#include <filesystem>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "runtime/base/fs.h"
#include "runtime/data/data_source.h"
#include "tests/data/picture_files.h"
#include "tests/support/mutated.h"

namespace ddp::test {

inline BatchLayout image_layout(int64_t n, int64_t side, int64_t channels, int64_t classes) {
  return {{{.name = "image", .dtype = DType::u8, .sample = {side, side, channels}},
           {.name = "label", .sample = {}, .limit = classes, .is_target = true}},
          n};
}

struct Shown {
  std::vector<uint8_t> pixels;
  int32_t label;
  auto operator<=>(const Shown&) const = default;
};

// The samples at positions [first, first + B).
inline std::vector<Shown> shown(const DataSource& source, const BatchLayout& layout, uint64_t first = 0) {
  HostBatch batch(layout);
  source.fill(batch, first);
  std::vector<Shown> all;
  for (int64_t i = 0; i < layout.num_samples(); ++i) {
    const std::span<uint8_t> image = batch.sample<uint8_t>("image", i);
    all.push_back({{image.begin(), image.end()}, batch.sample<int32_t>("label", i)[0]});
  }
  return all;
}

inline void write(const std::filesystem::path& path, const std::string& bytes) {
  std::filesystem::create_directories(path.parent_path());
  write_all(create_output(path), std::as_bytes(std::span(bytes)), path);
}

inline std::string big_endian(uint32_t n) {
  return {char(n >> 24), char(n >> 16 & 0xFF), char(n >> 8 & 0xFF), char(n & 0xFF)};
}

inline std::string idx(const std::vector<uint32_t>& dims, const std::string& values) {
  std::string text = big_endian(0x800 + uint32_t(dims.size()));
  for (const uint32_t dim : dims) text += big_endian(dim);
  return text + values;
}

inline std::string gzipped(const std::string& bytes) {
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(bytes.size() + 1000, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = uInt(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = uInt(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

// A PNG of one colour.
inline std::string plain_png(uint8_t grey, int width = 12, int height = 9) {
  const FileBytes file = write_png({width, height, 3, std::vector<uint8_t>(size_t(width * height * 3), grey)});
  return {reinterpret_cast<const char*>(file.data()), file.size()};
}

// Half of the damage is in a header.
inline constexpr Damage kHeader{.header_bytes = 20};

inline std::string random_bytes(size_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::string bytes(n, '\0');
  for (char& byte : bytes) byte = char(random());
  return bytes;
}

}  // namespace ddp::test
