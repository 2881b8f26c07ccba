// A file of tokens, cut into samples of context + 1 tokens. Read with pread, never mapped: a file that shrinks while it
// is read is then an error with a name, not a SIGBUS; a sample is one read of a few kB, so a map would gain nothing.
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

// What a checkpoint keeps of a data file, to notice that it changed between runs.
struct DataFingerprint {
  int64_t size_bytes = 0;
  std::string xxh3;  // of 64 KiB blocks spread evenly over the file, first and last included; 16 hex digits
  bool operator==(const DataFingerprint&) const = default;
};

enum class TokenFormat : uint8_t { bytes, tokens };

class TokenFile {
 public:
  // Every token must be below `vocab`. Errors: no_input (66) when the file is missing; data (65) when it is
  // shorter than a sample, its size is not whole tokens, or it contradicts its header.
  TokenFile(const std::filesystem::path& path, TokenFormat format, int64_t context, int64_t vocab);

  const std::filesystem::path& path() const { return path_; }
  int64_t num_samples() const { return (num_tokens_ - 1) / context_; }
  int64_t context() const { return context_; }
  bool is_bytes() const { return format_ == TokenFormat::bytes; }

  // Sample i: tokens [i * context, (i + 1) * context) of the file, and as targets the same shifted by one; (T) each.
  // Thread-safe with a scratch per thread. Errors: data (65) at a token >= vocab, naming file, sample and place, or
  // when the file became shorter.
  void read_sample(int64_t sample, std::span<int32_t> tokens, std::span<int32_t> targets,
                   std::vector<std::byte>& scratch) const;

  // Reads up to 1 MiB. Errors: data (65), io (74).
  DataFingerprint fingerprint() const;

 private:
  void read_header();
  [[noreturn]] void fail_token(int64_t sample, int64_t at, int64_t token) const;
  template <class Stored>
  void decode(int64_t sample, const std::byte* raw, std::span<int32_t> tokens, std::span<int32_t> targets) const;

  std::filesystem::path path_;
  Fd file_;
  TokenFormat format_;
  int64_t context_, vocab_;
  int64_t size_bytes_ = 0, header_bytes_ = 0, token_bytes_ = 1, num_tokens_ = 0;
};

}  // namespace ddp
