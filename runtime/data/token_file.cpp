#include "runtime/data/token_file.h"

#include <errno.h>
#include <fmt/core.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include "runtime/base/check.h"
#include "runtime/base/error.h"
#include "runtime/base/file_kind.h"
#include "runtime/base/hash.h"
#include "runtime/data/token_kind.h"

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
constexpr int64_t kLookedAtBlock = 4096, kLookedAtBlocks = 8;

Error corrupt(const std::filesystem::path& path, const std::string& what, const std::string& hint = {}) {
  return Error(ExitCode::data, path.string() + " " + what, hint);
}

int64_t bytes_of(TokenBytes width, int64_t usual) {
  switch (width) {
    case TokenBytes::automatic:
      return usual;
    case TokenBytes::two:
      return 2;
    case TokenBytes::four:
      return 4;
  }
  return usual;
}

// The index of the first one that is not below vocab, n where all are.
template <class Stored>
int64_t first_bad(const std::byte* raw, int64_t n, int64_t vocab) {
  constexpr int64_t kRun = 4096;  // without a branch within, so that it takes as long as reading memory
  const auto at = [raw](int64_t i) {
    Stored stored;
    std::memcpy(&stored, raw + i * int64_t(sizeof stored), sizeof stored);
    return stored;
  };
  if (vocab > int64_t(std::numeric_limits<Stored>::max())) return n;
  for (int64_t begin = 0; begin < n; begin += kRun) {
    const int64_t end = std::min(n, begin + kRun);
    Stored largest = 0;
    for (int64_t i = begin; i < end; ++i) largest = std::max(largest, at(i));
    if (int64_t(largest) < vocab) continue;
    for (int64_t i = begin; i < end; ++i)
      if (int64_t(at(i)) >= vocab) return i;
  }
  return n;
}

template <class Stored>
void decode(const std::byte* raw, std::span<int32_t> out) {
  for (size_t i = 0; i < out.size(); ++i) {
    Stored stored;
    std::memcpy(&stored, raw + i * sizeof stored, sizeof stored);
    out[i] = int32_t(stored);
  }
}

}  // namespace

TokenFile::TokenFile(const std::filesystem::path& path, TokenFormat format, int64_t sample_tokens, int64_t vocab,
                     TokenBytes width)
    : path_(path), file_(open_input(path)), format_(format), vocab_(vocab) {
  size_bytes_ = file_size(file_, path_);
  if (!is_bytes()) read_header(width);
  if (header_bytes_ == 0 && width == TokenBytes::automatic) check_kind();
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

int64_t TokenFile::usual_bytes() const { return vocab_ > kMaxUint16Vocab ? 4 : 2; }

void TokenFile::read_header(TokenBytes width) {
  token_bytes_ = bytes_of(width, usual_bytes());
  std::array<int32_t, kHeaderInts> header{};
  if (size_bytes_ < kHeaderBytes) return;
  read_exact(file_, std::as_writable_bytes(std::span(header)), 0, path_);
  for (const HeaderKind& kind : kHeaderKinds) {
    if (header[0] != kind.magic) continue;
    if (header[1] != kind.version)
      throw corrupt(path_,
                    fmt::format("has header version {}; known for magic {}: {}", header[1], kind.magic, kind.version));
    if (bytes_of(width, kind.token_bytes) != kind.token_bytes)
      throw corrupt(path_,
                    fmt::format("has a header that says {}-byte tokens, and data.token_bytes is {}", kind.token_bytes,
                                token_bytes_),
                    "remove data.token_bytes");
    header_bytes_ = kHeaderBytes;
    token_bytes_ = kind.token_bytes;
    num_tokens_ = header[2];
  }
}

void TokenFile::check_kind() const {
  const int64_t block = std::min(size_bytes_, kLookedAtBlock);
  std::vector<std::byte> bytes(size_t(block * kLookedAtBlocks));
  std::vector<std::span<const std::byte>> blocks;
  for (int64_t i = 0; i < kLookedAtBlocks && i * block < size_bytes_; ++i) {
    const std::span<std::byte> out = std::span(bytes).subspan(size_t(i * block), size_t(block));
    read_exact(file_, out, (size_bytes_ - block) / (kLookedAtBlocks - 1) * i / 8 * 8, path_);
    blocks.push_back(out);
  }
  if (blocks.empty()) return;
  const std::span<const std::byte> first = blocks.front().first(std::min(blocks.front().size(), kKindBytes));
  const FileKind kind = kind_of_file(first);
  const auto or_tokens = [&](std::string_view remedy) {
    return is_bytes() ? std::string(remedy)
                      : fmt::format("{}; if it holds {}-byte tokens after all, set data.token_bytes to {}", remedy,
                                    token_bytes_, token_bytes_);
  };
  const bool is_pointer = kind.type == FileClass::lfs_pointer;
  const bool is_some_text = kind.type == FileClass::text || (is_text(first) && !is_pointer);
  if (kind.type != FileClass::unknown && !(is_bytes() && is_some_text))
    throw corrupt(path_, fmt::format("is {}, and no file of {}", kind.name, is_bytes() ? "text" : "tokens"),
                  is_pointer ? kFetchPointer : or_tokens("unpack or convert it first"));
  if (is_bytes()) return;
  const OtherKind other = find_other_kind(blocks, token_bytes_, vocab_);
  if (other.what.empty()) return;
  throw corrupt(path_, fmt::format("seems to hold {} where {}-byte tokens are wanted", other.what, token_bytes_),
                or_tokens(other.remedy));
}

std::span<const std::byte> TokenFile::read_raw(int64_t begin, int64_t count, std::vector<std::byte>& scratch) const {
  DDP_CHECK(begin >= 0 && begin + count <= num_tokens_, "tokens [{}, {}) of {}", begin, begin + count, num_tokens_);
  scratch.resize(size_t(count * token_bytes_));
  read_exact(file_, scratch, header_bytes_ + begin * token_bytes_, path_);
  return scratch;
}

int64_t TokenFile::doubtful_bytes() const { return vocab_ >> (8 * token_bytes_) > 0 ? 0 : num_tokens_ * token_bytes_; }

int64_t TokenFile::find_bad(int64_t begin, int64_t end, std::vector<std::byte>& scratch) const {
  const std::byte* const raw = read_raw(begin, end - begin, scratch).data();
  const int64_t n = end - begin;
  const int64_t bad = token_bytes_ == 1   ? first_bad<uint8_t>(raw, n, vocab_)
                      : token_bytes_ == 2 ? first_bad<uint16_t>(raw, n, vocab_)
                                          : first_bad<uint32_t>(raw, n, vocab_);
  return bad == n ? -1 : begin + bad;
}

void TokenFile::read(int64_t begin, std::span<int32_t> out, std::vector<std::byte>& scratch) const {
  const int64_t bad = find_bad(begin, begin + int64_t(out.size()), scratch);
  const std::byte* const raw = scratch.data();
  token_bytes_ == 1   ? decode<uint8_t>(raw, out)
  : token_bytes_ == 2 ? decode<uint16_t>(raw, out)
                      : decode<uint32_t>(raw, out);
  if (bad < 0) return;
  throw corrupt(path_,
                fmt::format("holds token {} at index {}, not below model.vocab {}", uint32_t(out[size_t(bad - begin)]),
                            bad, vocab_),
                "is the file of another tokenizer or data.format?");
}

std::string TokenFile::identity() const {
  struct stat info;
  if (::fstat(file_.get(), &info) != 0)
    throw Error(ExitCode::io, "cannot stat " + path_.string() + ": " + errno_text(errno));
  return fmt::format("{} bytes, written {}.{:09}, {}:{}, {}-byte tokens below {}", info.st_size, info.st_mtim.tv_sec,
                     info.st_mtim.tv_nsec, info.st_dev, info.st_ino, token_bytes_, vocab_);
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
  const bool is_usual = is_bytes() || header_bytes_ > 0 || token_bytes_ == usual_bytes();
  return fmt::format("{} bytes, xxh3 {}{}", size_bytes_, hash_text(xxh3(bytes)),
                     is_usual ? "" : fmt::format(", {}-byte tokens", token_bytes_));
}

}  // namespace ddp
