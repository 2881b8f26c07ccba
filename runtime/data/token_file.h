// A file of tokens. Read with pread, never mapped: a file that shrinks while it is read is then an error with a name,
// not a SIGBUS; a sample is one read of a few kB, so a map would gain nothing.
//
// Formats:
//   bytes    the file itself, a token a byte
//   tokens   llm.c's: 256 int32 of header (magic 20240520, version 1: uint16; magic 20240801, version 7: uint32; and
//            the number of tokens), or nanoGPT's without a header: uint16, or uint32 when `vocab` is above 65536,
//            which uint16 cannot hold. No pair of GPT-2 tokens reads as a magic number: its low half is 55,432 or
//            55,713.
// All little-endian, as written by both on every machine they run on.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/fs.h"

namespace ddp {

enum class TokenFormat : uint8_t { bytes, tokens };

class TokenFile {
 public:
  // Every token must be below `vocab`; a sample takes `sample_tokens` of them. Errors: no_input (66) when the file is
  // missing; data (65) when it is shorter than a sample, its size is not whole tokens, or it contradicts its header.
  TokenFile(const std::filesystem::path& path, TokenFormat format, int64_t sample_tokens, int64_t vocab);

  const std::filesystem::path& path() const { return path_; }
  int64_t num_tokens() const { return num_tokens_; }
  bool is_bytes() const { return format_ == TokenFormat::bytes; }

  // Tokens [begin, begin + out.size()) of the file, which are those of `sample`. Thread-safe with a scratch per thread.
  // Errors: data (65) at a token >= vocab, naming file, sample and place, or when the file became shorter.
  void read(int64_t sample, int64_t begin, std::span<int32_t> out, std::vector<std::byte>& scratch) const;

  // Size, and a hash of 64 KiB blocks spread evenly over the file, first and last included. Errors: data (65), io (74).
  std::string fingerprint() const;

 private:
  void read_header();
  // Returns the index of the first one that is not below vocab, out.size() where all are.
  template <class Stored>
  size_t decode(const std::byte* raw, std::span<int32_t> out) const;

  std::filesystem::path path_;
  Fd file_;
  TokenFormat format_;
  int64_t vocab_;
  int64_t size_bytes_ = 0, header_bytes_ = 0, token_bytes_ = 1, num_tokens_ = 0;
};

}  // namespace ddp
