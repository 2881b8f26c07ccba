// A file of tokens. Read with pread, never mapped: a file that shrinks while it is read is then an error with a name,
// not a SIGBUS; a sample is one read of a few kB, so a map would gain nothing.
//
// Formats:
//   bytes    the file itself, a token a byte
//   tokens   llm.c's: 256 int32 of header (magic 20240520, version 1: uint16; magic 20240801, version 7: uint32; and
//            the number of tokens), or nanoGPT's without a header: uint16, or uint32 when `vocab` is above 65536,
//            which uint16 cannot hold, unless it is said (TokenBytes). No pair of GPT-2 tokens reads as a magic number:
//            its low half is 55,432 or 55,713.
// All little-endian, as written by both on every machine they run on. A file that is something else is refused: by its
// first bytes (runtime/base/file_kind.h), in either format, and where it has no header by what blocks all over it show
// (token_kind.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/fs.h"
#include "runtime/config/choices.h"

namespace ddp {

enum class TokenFormat : uint8_t { bytes, tokens };

class TokenFile {
 public:
  // Every token must be below `vocab`; a sample takes `sample_tokens` of them. Errors: no_input (66) when the file is
  // missing; data (65) when it is another kind of file, shorter than a sample, its size is not whole tokens, or its
  // header contradicts it or `width`.
  TokenFile(const std::filesystem::path& path, TokenFormat format, int64_t sample_tokens, int64_t vocab,
            TokenBytes width = TokenBytes::automatic);

  const std::filesystem::path& path() const { return path_; }
  int64_t num_tokens() const { return num_tokens_; }
  bool is_bytes() const { return format_ == TokenFormat::bytes; }
  // Bytes of tokens that may be no tokens of the vocabulary; 0 where every value of their width is one.
  int64_t doubtful_bytes() const;

  // Tokens [begin, begin + out.size()) of the file. Thread-safe with a scratch per thread. Errors: data (65) at a token
  // >= vocab, naming file, place and value, or when the file became shorter.
  void read(int64_t begin, std::span<int32_t> out, std::vector<std::byte>& scratch) const;
  // What read() would say of one of the tokens [begin, end): the first that is not below vocab; -1 where all are.
  int64_t find_bad(int64_t begin, int64_t end, std::vector<std::byte>& scratch) const;

  // Size, and a hash of 64 KiB blocks spread evenly over the file, first and last included; and the width, where it is
  // not the usual one of the vocabulary and no header says it. Errors: data (65), io (74).
  std::string fingerprint() const;
  // What tells this file, and what may be in it, from any other: size, time of the last write, device and inode, and
  // the vocabulary that its tokens are below. Errors: io (74).
  std::string identity() const;

 private:
  void read_header(TokenBytes width);
  void check_kind() const;
  std::span<const std::byte> read_raw(int64_t begin, int64_t count, std::vector<std::byte>& scratch) const;
  int64_t usual_bytes() const;  // of a token in a file without a header

  std::filesystem::path path_;
  Fd file_;
  TokenFormat format_;
  int64_t vocab_;
  int64_t size_bytes_ = 0, header_bytes_ = 0, token_bytes_ = 1, num_tokens_ = 0;
};

}  // namespace ddp
