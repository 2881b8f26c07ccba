#include "runtime/data/token_file.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "runtime/base/check.h"
#include "runtime/base/error.h"
#include "runtime/base/hash.h"

namespace ddp {
namespace {

struct HeaderKind {
  int32_t magic, version;
  int64_t token_bytes;
};

constexpr HeaderKind kHeaderKinds[] = {{20240520, 1, 2}, {20240801, 7, 4}};
constexpr int64_t kHeaderInts = 256, kHeaderBytes = kHeaderInts * 4;
constexpr int64_t kMaxUint16Vocab = 65536;
constexpr int64_t kHashedBlock = 64 * 1024, kHashedBlocks = 16;

Error corrupt(const std::filesystem::path& path, const std::string& what, const std::string& hint = {}) {
  return Error(ExitCode::data, path.string() + " " + what, hint);
}

}  // namespace

TokenFile::TokenFile(const std::filesystem::path& path, TokenFormat format, int64_t context, int64_t vocab)
    : path_(path), file_(open_input(path)), format_(format), context_(context), vocab_(vocab) {
  size_bytes_ = file_size(file_, path_);
  if (!is_bytes()) read_header();
  const int64_t payload = size_bytes_ - header_bytes_;
  if (payload % token_bytes_ != 0)
    throw corrupt(path_, fmt::format("has {} bytes, not a whole number of {}-byte tokens", size_bytes_, token_bytes_),
                  "was it cut off, or is data.format wrong?");
  if (header_bytes_ > 0 && num_tokens_ != payload / token_bytes_)
    throw corrupt(path_, fmt::format("holds {} tokens but its header says {}", payload / token_bytes_, num_tokens_),
                  "was it cut off?");
  num_tokens_ = payload / token_bytes_;
  if (num_samples() < 1)
    throw corrupt(path_, fmt::format("holds {} tokens; a sample needs {}", num_tokens_, context_ + 1),
                  "give a longer file or a smaller model.context");
}

void TokenFile::read_header() {
  token_bytes_ = vocab_ > kMaxUint16Vocab ? 4 : 2;
  std::array<int32_t, kHeaderInts> header{};
  if (size_bytes_ < kHeaderBytes) return;
  read_exact(file_, std::as_writable_bytes(std::span(header)), 0, path_);
  for (const HeaderKind& kind : kHeaderKinds) {
    if (header[0] != kind.magic) continue;
    if (header[1] != kind.version)
      throw corrupt(path_,
                    fmt::format("has header version {}; known for magic {}: {}", header[1], kind.magic, kind.version));
    header_bytes_ = kHeaderBytes;
    token_bytes_ = kind.token_bytes;
    num_tokens_ = header[2];
  }
}

void TokenFile::fail_token(int64_t sample, int64_t at, int64_t token) const {
  throw corrupt(path_,
                fmt::format("holds token {} at index {} (sample {}, its token {}), not below model.vocab {}", token,
                            sample * context_ + at, sample, at, vocab_),
                "is the file of another tokenizer or data.format?");
}

template <class Stored>
void TokenFile::decode(int64_t sample, const std::byte* raw, std::span<int32_t> tokens,
                       std::span<int32_t> targets) const {
  for (int64_t i = 0; i <= context_; ++i) {
    Stored stored;
    std::memcpy(&stored, raw + i * int64_t(sizeof stored), sizeof stored);
    if (int64_t(stored) >= vocab_) fail_token(sample, i, int64_t(stored));
    if (i < context_) tokens[size_t(i)] = int32_t(stored);
    if (i > 0) targets[size_t(i - 1)] = int32_t(stored);
  }
}

void TokenFile::read_sample(int64_t sample, std::span<int32_t> tokens, std::span<int32_t> targets,
                            std::vector<std::byte>& scratch) const {
  DDP_CHECK(int64_t(tokens.size()) == context_ && int64_t(targets.size()) == context_, "{} tokens of {}", tokens.size(),
            context_);
  DDP_CHECK(sample >= 0 && sample < num_samples(), "sample {} of {}", sample, num_samples());
  scratch.resize(size_t((context_ + 1) * token_bytes_));
  read_exact(file_, scratch, header_bytes_ + sample * context_ * token_bytes_, path_);
  switch (token_bytes_) {
    case 1:
      return decode<uint8_t>(sample, scratch.data(), tokens, targets);
    case 2:
      return decode<uint16_t>(sample, scratch.data(), tokens, targets);
    case 4:
      return decode<uint32_t>(sample, scratch.data(), tokens, targets);
  }
  DDP_CHECK(false, "{} bytes a token", token_bytes_);
}

DataFingerprint TokenFile::fingerprint() const {
  std::vector<std::byte> bytes(size_t(std::min(size_bytes_, kHashedBlock * kHashedBlocks)));
  if (int64_t(bytes.size()) == size_bytes_) {
    read_exact(file_, bytes, 0, path_);
  } else {
    for (int64_t i = 0; i < kHashedBlocks; ++i) {
      const int64_t offset = (size_bytes_ - kHashedBlock) / (kHashedBlocks - 1) * i;
      const bool last = i == kHashedBlocks - 1;
      read_exact(file_, std::span(bytes).subspan(size_t(i * kHashedBlock), size_t(kHashedBlock)),
                 last ? size_bytes_ - kHashedBlock : offset, path_);
    }
  }
  return {size_bytes_, hash_text(xxh3(bytes))};
}

}  // namespace ddp
