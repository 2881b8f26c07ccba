// Files that are given as tokens and hold something else are refused by what they hold; files of tokens never are,
// however few, alike or small these are.
#include <fmt/ranges.h>
#include <unistd.h>

#include <bit>
#include <catch2/catch.hpp>
#include <functional>
#include <random>

#include "runtime/data/token_file.h"
#include "tests/data/token_bytes.h"
#include "tests/support/failure.h"
#include "tests/support/temporary_folder.h"

using namespace ddp;
using namespace ddp::test;
using Catch::Contains;

namespace {

constexpr int64_t kGpt2 = 50257, kLarge = 128'256;

struct Given {
  int64_t vocab = kGpt2;
  TokenBytes width = TokenBytes::automatic;
  TokenFormat format = TokenFormat::tokens;
};

// What is said of a file with these bytes; empty where it is taken.
std::string refusal(std::span<const std::byte> bytes, const Given& given = {}) {
  const TemporaryFolder folder;
  write_file(folder.path / "t.bin", bytes);
  const Failure f = failure_of([&] { TokenFile(folder.path / "t.bin", given.format, 2, given.vocab, given.width); });
  if (!f.message.empty()) {
    CHECK(f.code == 65);
    CHECK_THAT(f.message, Contains("t.bin"));
    CHECK(f.message.find('\n') == f.message.npos);
  }
  return f.message;
}

// Ids as a tokenizer of natural text gives them: the small ones often.
template <class Stored>
std::vector<Stored> zipf(size_t n, int64_t vocab, uint32_t seed = 1) {
  std::mt19937 random(seed);
  std::vector<Stored> ids(n);
  for (Stored& id : ids) {
    const double u = double(random()) / 4294967296.0;
    id = Stored(std::pow(double(vocab), u) - 1);
  }
  return ids;
}

template <class Stored>
std::vector<Stored> uniform(size_t n, uint64_t below, uint32_t seed = 1) {
  std::mt19937_64 random(seed);
  std::vector<Stored> ids(n);
  for (Stored& id : ids) id = Stored(random() % below);
  return ids;
}

template <class Stored>
std::vector<std::byte> swapped(std::vector<Stored> values) {
  std::vector<std::byte> bytes = as_bytes(values);
  for (size_t i = 0; i < bytes.size(); i += sizeof(Stored))
    std::reverse(bytes.begin() + int64_t(i), bytes.begin() + int64_t(i + sizeof(Stored)));
  return bytes;
}

std::vector<std::byte> text_bytes(const std::string& text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

std::string repeated(const std::string& text, size_t bytes) {
  std::string all;
  while (all.size() < bytes) all += text;
  return all;
}

}  // namespace

TEST_CASE("integers of another width or byte order, and text, are named with the key that overrides") {
  const std::string lines = repeated("In the beginning God created the heaven and the earth.\n", 3000);
  const std::string cyrillic = repeated(
      "\xd0\x92 \xd0\xbd\xd0\xb0\xd1\x87\xd0\xb0\xd0\xbb\xd0\xb5 "
      "\xd1\x81\xd0\xbe\xd1\x82\xd0\xb2\xd0\xbe\xd1\x80\xd0\xb8\xd0\xbb, ",
      3000);
  struct Case {
    const char* name;
    std::vector<std::byte> bytes;
    const char* words;
    int64_t vocab = kGpt2;
  };
  const std::vector<Case> cases = {
      {"int32", as_bytes(zipf<int32_t>(5000, kGpt2)), "4-byte integers"},
      {"int32, random", as_bytes(uniform<int32_t>(100'000, kGpt2)), "4-byte integers"},
      {"int32, 65 characters", as_bytes(uniform<int32_t>(1000, 65)), "4-byte integers", 65},
      {"int32, 100 tokens", as_bytes(uniform<int32_t>(100, kGpt2)), "4-byte integers"},
      {"int64", as_bytes(zipf<int64_t>(5000, kGpt2)), "8-byte integers"},
      {"int64, 100 tokens", as_bytes(uniform<int64_t>(100, kGpt2)), "8-byte integers"},
      {"int64, large vocabulary", as_bytes(zipf<int64_t>(5000, kLarge)), "8-byte integers", kLarge},
      {"uint16, large vocabulary", as_bytes(uniform<uint16_t>(5000, kGpt2)), "2-byte integers", kLarge},
      {"uint8", as_bytes(uniform<uint8_t>(5000, 97)), "1-byte integers"},
      {"big-endian uint16", swapped(uniform<uint16_t>(5000, kGpt2)), "byte order"},
      {"big-endian int32", swapped(uniform<uint32_t>(5000, kGpt2)),
       "big-endian 4-byte integers where 2-byte tokens are wanted; write them as little-endian and set "
       "data.token_bytes "
       "to 4"},
      {"big-endian int64", swapped(uniform<uint64_t>(5000, kGpt2)), "big-endian 8-byte integers"},
      {"big-endian int64, large vocabulary", swapped(uniform<uint64_t>(5000, kLarge)), "big-endian 8-byte integers",
       kLarge},
      {"big-endian uint32, large vocabulary", swapped(uniform<uint32_t>(5000, kLarge)), "byte order", kLarge},
      {"English", text_bytes(lines), "text"},
      {"English, odd size", text_bytes(lines.substr(0, 2001)), "text"},
      {"English, large vocabulary", text_bytes(lines.substr(0, 2000)), "text", kLarge},
      {"Russian", text_bytes(cyrillic), "text"},
      {"Latin-1",
       text_bytes(repeated("Am Anfang schuf Gott Himmel und Erde; die W\xfcste, \xd6"
                           "de.\n",
                           3000)),
       "text"},
  };
  for (const Case& c : cases) {
    INFO(c.name);
    const std::string said = refusal(c.bytes, {.vocab = c.vocab});
    CHECK_THAT(said, Contains("seems to hold ") && Contains(c.words));
    CHECK_THAT(said, Contains("set data.token_bytes to "));
  }
  // Signs in one place alone, far from the beginning, too: blocks lie all over the file.
  CHECK_THAT(refusal(as_bytes(zipf<int32_t>(2'000'000, kGpt2))), Contains("4-byte integers"));
}

TEST_CASE("ids written as text, and other text of few letters, are text") {
  const auto ids = uniform<uint16_t>(20'000, kGpt2);
  const auto written = [&](const char* separator, size_t n) {
    return fmt::format("{}", fmt::join(ids.begin(), ids.begin() + int64_t(n), separator));
  };
  std::string genome;
  for (const uint16_t letter : uniform<uint16_t>(5000, 4)) {
    genome += "ACGT"[letter];
    if (genome.size() % 61 == 60) genome += '\n';
  }
  const std::string texts[] = {
      written(",", 10),
      written(",", 20'000),
      written("\n", 20'000),
      written("\r\n", 500),
      written("\t", 500),
      written(" ", 501),
      "[" + written(", ", 500) + "]",
      repeated("[1, 2, 3]\n", 3000),
      repeated("-1.5 0.25\n", 3000),
      repeated("0 1 1 0 1\n", 3000),
      repeated("1 2 3\n", 32),
      genome,
      genome.substr(0, 101),
      repeated("ACGT\n", 3000),
      repeated("banana\nband\n", 3000),
  };
  for (const std::string& text : texts)
    for (const int64_t vocab : {kGpt2, kLarge}) {
      INFO(text.substr(0, 40) << ", vocabulary of " << vocab);
      const std::string said = refusal(text_bytes(text), {.vocab = vocab});
      CHECK_THAT(said, Contains("text") || Contains("JSON"));
      CHECK_THAT(said, Contains("set data.token_bytes to "));
    }
}

TEST_CASE("tokens are never refused for what they look like") {
  const auto taken = [](const char* name, const std::vector<std::byte>& bytes, int64_t vocab) {
    INFO(name << ", " << bytes.size() << " bytes");
    CHECK(refusal(bytes, {.vocab = vocab}) == "");
  };
  for (const size_t n : {2u, 7u, 33u, 100u, 300u, 1000u, 33'000u, 300'000u}) {
    taken("as text gives them", as_bytes(zipf<uint16_t>(n, kGpt2)), kGpt2);
    taken("BERT's", as_bytes(zipf<uint16_t>(n, 30522)), 30522);
    taken("random", as_bytes(uniform<uint16_t>(n, kGpt2)), kGpt2);
    taken("random, all of uint16", as_bytes(uniform<uint16_t>(n, 65536)), 65536);
    taken("bytes", as_bytes(uniform<uint16_t>(n, 256)), 256);
    taken("bytes of English", as_bytes([&] {
            std::vector<uint16_t> ids(n);
            const std::string text = repeated("and the earth was without form, and void; ", n);
            std::copy_n(text.begin(), n, ids.begin());
            return ids;
          }()),
          256);
    taken("characters", as_bytes(uniform<uint16_t>(n, 65)), 65);
    taken("two", as_bytes(uniform<uint16_t>(n, 2)), 2);
    taken("few, as ids of a large vocabulary", as_bytes(uniform<uint16_t>(n, 2)), kGpt2);
    taken("uint32", as_bytes(uniform<uint32_t>(n, kLarge)), kLarge);
    taken("uint32, as text gives them", as_bytes(zipf<uint32_t>(n, kLarge)), kLarge);
    taken("uint32 of a larger vocabulary than used", as_bytes(uniform<uint32_t>(n, 256)), kLarge);
    for (const uint16_t id : {0, 1, 255, 0x2020, 0x4141, 0x0a41, 0x312c, 50256})
      taken("constant", as_bytes(std::vector<uint16_t>(n, id)), kGpt2);
    for (const uint16_t period : {2, 3, 4, 8, 50, 1000}) {
      std::vector<uint16_t> ids(n);
      for (size_t i = 0; i < n; ++i) ids[i] = uint16_t(i % period);
      taken("periodic", as_bytes(ids), kGpt2);
      taken("periodic, of as many", as_bytes(ids), std::max<uint16_t>(period, 2));
    }
    taken("two that look like numbers", text_bytes(repeated("1,2,", 2 * n)), kGpt2);
    taken("three that look like lines", text_bytes(repeated("A\nC\nG\n", 2 * n)), kGpt2);
    taken("letters without lines", text_bytes(repeated("ABCDEFGHAC", 2 * n)), kGpt2);
    taken("counting", as_bytes(counting<uint16_t>(n % 40'000)), kGpt2);
  }
}

TEST_CASE("a width that is said is taken at its word, but not against a header") {
  const auto int32s = as_bytes(uniform<int32_t>(1000, kGpt2)), int64s = as_bytes(uniform<int64_t>(1000, kGpt2));
  CHECK(refusal(int32s, {.width = TokenBytes::four}) == "");
  CHECK(refusal(int32s, {.width = TokenBytes::two}) == "");
  CHECK(refusal(int64s, {.width = TokenBytes::four}) == "");
  for (const std::string start : {"\x1f\x8b\x08", "PK\3\4", "BZh9", "\x93NUMPY", "{\"a\": 1}", "<!doctype html>"})
    for (const TokenBytes width : {TokenBytes::two, TokenBytes::four})
      CHECK(refusal(text_bytes((start + repeated("tokens", 400)).substr(0, 400)), {.width = width}) == "");
  const auto has_header = with_header(20240520, 1, 1000, uniform<uint16_t>(1000, kGpt2));
  CHECK(refusal(has_header, {.width = TokenBytes::two}) == "");
  CHECK_THAT(refusal(has_header, {.width = TokenBytes::four}), Contains("header that says 2-byte tokens"));

  const TemporaryFolder folder;
  const auto path = write_file(folder.path / "t", int32s);
  const TokenFile file(path, TokenFormat::tokens, 2, kGpt2, TokenBytes::four);
  CHECK(file.num_tokens() == 1000);
  // The usual width leaves the fingerprint as it ever was, another one is part of it.
  const auto print = [&](TokenBytes width) {
    return TokenFile(path, TokenFormat::tokens, 2, kGpt2, width).fingerprint();
  };
  CHECK_THAT(print(TokenBytes::two), Catch::Matches("4000 bytes, xxh3 [0-9a-f]{16}"));
  CHECK(print(TokenBytes::four) == print(TokenBytes::two) + ", 4-byte tokens");
}

TEST_CASE("archives and other containers are refused by name as tokens and as text, text is never refused as bytes") {
  const std::string gzip = std::string("\x1f\x8b\x08\0", 4) + std::string(500, 'x');
  const std::string pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + std::string(64, 'a') + "\n";
  const Given as_text{.vocab = 256, .format = TokenFormat::bytes};
  CHECK_THAT(refusal(text_bytes(gzip)), Contains("is a gzip archive, and no file of tokens"));
  CHECK_THAT(refusal(text_bytes(gzip), as_text), Contains("is a gzip archive, and no file of text"));
  CHECK_THAT(refusal(text_bytes(gzip)), Contains("if it holds 2-byte tokens after all, set data.token_bytes to 2"));
  CHECK_THAT(refusal(text_bytes(pointer)), Contains("git lfs pull"));
  CHECK_THAT(refusal(text_bytes(pointer), as_text), Contains("git lfs pull"));
  for (const char* text : {"{\"text\": 1}\n{\"text\": 2}\n", "<!doctype html><p>", "PAR1", "plain", "caf\xc3\xa9",
                           "caf\xe9 in Latin-1, as it was written once", "\xd0\xbf\xd1\x80\xd0\xb8"})
    CHECK(refusal(text_bytes(repeated(text, 300)), as_text) == "");
  const std::string utf16("\xff\xfeH\0e\0l\0l\0o\0", 12);
  CHECK(refusal(text_bytes(repeated(utf16, 300)), as_text) == "");
  CHECK_THAT(refusal(text_bytes(repeated(utf16, 300))), Contains("UTF-16"));
  std::string stray = repeated("{\"text\": 1}\n", 3000);  // one byte that is no text makes it no other kind
  stray[2000] = '\0';
  CHECK(refusal(text_bytes(stray), as_text) == "");
  CHECK_THAT(refusal(text_bytes(repeated("{\"text\": 1}\n", 300))), Contains("JSON"));
  CHECK_THAT(refusal(text_bytes(repeated("<!doctype html>\n", 300))), Contains("HTML"));
}
