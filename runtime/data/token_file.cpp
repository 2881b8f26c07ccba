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

TokenFile::TokenFile(const std::filesystem::path& path, TokenFormat format, int64_t sample_tokens, int64_t vocab)
    : path_(path), file_(open_input(path)), format_(format), vocab_(vocab) {
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
  if (num_tokens_ < sample_tokens)
    throw corrupt(path_, fmt::format("holds {} tokens; a sample needs {}", num_tokens_, sample_tokens),
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

template <class Stored>
size_t TokenFile::decode(const std::byte* raw, std::span<int32_t> out) const {
  for (size_t i = 0; i < out.size(); ++i) {
    Stored stored;
    std::memcpy(&stored, raw + i * sizeof stored, sizeof stored);
    out[i] = int32_t(stored);
    if (int64_t(stored) >= vocab_) return i;
  }
  return out.size();
}

void TokenFile::read(int64_t sample, int64_t begin, std::span<int32_t> out, std::vector<std::byte>& scratch) const {
  DDP_CHECK(begin >= 0 && begin + int64_t(out.size()) <= num_tokens_, "tokens [{}, {}) of {}", begin,
            begin + int64_t(out.size()), num_tokens_);
  scratch.resize(out.size() * size_t(token_bytes_));
  read_exact(file_, scratch, header_bytes_ + begin * token_bytes_, path_);
  const std::byte* const raw = scratch.data();
  const size_t good = token_bytes_ == 1   ? decode<uint8_t>(raw, out)
                      : token_bytes_ == 2 ? decode<uint16_t>(raw, out)
                                          : decode<uint32_t>(raw, out);
  if (good == out.size()) return;
  throw corrupt(path_,
                fmt::format("holds token {} at index {} (sample {}, its token {}), not below model.vocab {}",
                            uint32_t(out[good]), begin + int64_t(good), sample, good, vocab_),
                "is the file of another tokenizer or data.format?");
}

std::string TokenFile::fingerprint() const {
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
  return fmt::format("{} bytes, xxh3 {}", size_bytes_, hash_text(xxh3(bytes)));
}

}  // namespace ddp
