// Bytes of token files, as the formats lay them out.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "runtime/base/fs.h"

namespace ddp::test {

inline std::filesystem::path write_file(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  write_all(create_output(path), bytes, path);
  return path;
}

template <class Stored>
std::vector<std::byte> as_bytes(const std::vector<Stored>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  return {bytes.begin(), bytes.end()};
}

// llm.c's header followed by the tokens.
template <class Stored>
std::vector<std::byte> with_header(int32_t magic, int32_t version, int32_t count, const std::vector<Stored>& tokens) {
  std::vector<int32_t> header(256);
  header[0] = magic, header[1] = version, header[2] = count;
  std::vector<std::byte> bytes = as_bytes(header);
  const std::vector<std::byte> body = as_bytes(tokens);
  bytes.insert(bytes.end(), body.begin(), body.end());
  return bytes;
}

// first, first + 1, ... : n of them.
template <class Stored>
std::vector<Stored> counting(size_t n, Stored first = 0) {
  std::vector<Stored> values(n);
  for (size_t i = 0; i < n; ++i) values[i] = Stored(first + i);
  return values;
}

}  // namespace ddp::test
