// Formats and samples of token files, and one clear error for each way in which a file can be wrong.
#include <unistd.h>

#include <catch2/catch.hpp>

#include "runtime/data/token_file.h"
#include "runtime/data/token_source.h"
#include "tests/data/token_bytes.h"
#include "tests/support/failure.h"
#include "tests/support/temporary_folder.h"

using namespace ddp;
using namespace ddp::test;
using Catch::Contains;
using Catch::Matches;

namespace {

constexpr int32_t kMagic16 = 20240520, kMagic32 = 20240801;

// A file as the samples of a model that predicts the next token, in file order.
struct Samples {
  Samples(const std::filesystem::path& path, TokenFormat format, int64_t context, int64_t vocab)
      : layout({{.name = "tokens", .sample = {context}, .limit = vocab},
                {.name = "targets", .sample = {context}, .limit = vocab, .is_target = true}},
               1),
        source((format == TokenFormat::bytes ? open_bytes : open_tokens)(
            {.paths = {path}, .split = Split::valid, .batch = layout})) {}
  int64_t count() const { return source->num_samples(); }

  BatchLayout layout;
  std::unique_ptr<DataSource> source;
};

std::vector<int32_t> read(const Samples& samples, int64_t sample, const char* input = "tokens") {
  HostBatch batch(samples.layout);
  samples.source->fill(batch, uint64_t(sample));
  const std::span<int32_t> values = batch.values<int32_t>(input);
  return {values.begin(), values.end()};
}

}  // namespace

TEST_CASE("sample i is tokens [i*context, i*context + context] in every format") {
  const TemporaryFolder folder;
  const auto check = [](const Samples& file, int32_t first) {
    CHECK(file.count() == 3);  // the last token of the third is the first of a fourth, which is cut off
    CHECK(read(file, 0) == std::vector<int32_t>{first, first + 1, first + 2, first + 3});
    CHECK(read(file, 2) == std::vector<int32_t>{first + 8, first + 9, first + 10, first + 11});
    CHECK(read(file, 2, "targets") == std::vector<int32_t>{first + 9, first + 10, first + 11, first + 12});
  };
  const auto bytes = counting<uint8_t>(14, 240);
  check(Samples(write_file(folder.path / "b", as_bytes(bytes)), TokenFormat::bytes, 4, 256), 240);
  const auto u16 = counting<uint16_t>(14, 65'000);
  check(Samples(write_file(folder.path / "h16", as_bytes(u16)), TokenFormat::tokens, 4, 65'536), 65'000);
  check(Samples(write_file(folder.path / "l16", with_header(kMagic16, 1, 14, u16)), TokenFormat::tokens, 4, 65'536),
        65'000);
  check(Samples(write_file(folder.path / "w16", with_header(kMagic16, 1, 14, u16)), TokenFormat::tokens, 4, 100'000),
        65'000);
  const auto u32 = counting<uint32_t>(14, 128'000);
  check(Samples(write_file(folder.path / "h32", as_bytes(u32)), TokenFormat::tokens, 4, 128'256), 128'000);
  check(Samples(write_file(folder.path / "l32", with_header(kMagic32, 7, 14, u32)), TokenFormat::tokens, 4, 128'256),
        128'000);
}

TEST_CASE("a headerless file of at least 1024 bytes is read from its first token") {
  const TemporaryFolder folder;
  const Samples file(write_file(folder.path / "t", as_bytes(counting<uint16_t>(2000))), TokenFormat::tokens, 8, 50257);
  CHECK(file.count() == 249);  // of 8 tokens, each with a token after it
  CHECK(read(file, 0)[0] == 0);
}

TEST_CASE("the number of samples needs a target for every token") {
  const TemporaryFolder folder;
  for (const auto& [n_tokens, n_samples] : {std::pair<size_t, int64_t>{5, 1}, {8, 1}, {9, 2}, {12, 2}, {13, 3}}) {
    const auto path = write_file(folder.path / "t", as_bytes(counting<uint8_t>(n_tokens)));
    CHECK(Samples(path, TokenFormat::bytes, 4, 256).count() == n_samples);
  }
}

TEST_CASE("a file that cannot be read as tokens is refused when it is opened") {
  const TemporaryFolder folder;
  const auto open = [](const std::filesystem::path& path, TokenFormat format = TokenFormat::tokens) {
    return failure_of([&] { Samples(path, format, 4, 50257); });
  };
  const auto tokens = counting<uint16_t>(14);
  struct Case {
    Failure failure;
    int code;
    std::vector<std::string> words;
  };
  const std::vector<Case> cases = {
      {open(folder.path / "none"), 66, {"none", "No such file"}},
      {open(folder.path), 66, {"not a regular file"}},
      {open(write_file(folder.path / "short", as_bytes(counting<uint16_t>(4)))),
       65,
       {"short", "holds 4 tokens", "needs 5"}},
      {open(write_file(folder.path / "empty", {})), 65, {"holds 0 tokens", "needs 5"}},
      {open(write_file(folder.path / "bytes", as_bytes(counting<uint8_t>(4))), TokenFormat::bytes),
       65,
       {"holds 4 tokens", "needs 5"}},
      {open(write_file(folder.path / "odd", as_bytes(counting<uint8_t>(15)))), 65, {"15 bytes", "2-byte"}},
      {open(write_file(folder.path / "more", with_header(kMagic16, 1, 13, tokens))),
       65,
       {"14 tokens", "header says 13"}},
      {open(write_file(folder.path / "less", with_header(kMagic16, 1, 15, tokens))),
       65,
       {"14 tokens", "header says 15"}},
      {open(write_file(folder.path / "minus", with_header(kMagic16, 1, -1, tokens))), 65, {"header says -1"}},
      {open(write_file(folder.path / "version", with_header(kMagic16, 2, 14, tokens))), 65, {"version 2"}},
      {open(write_file(folder.path / "header", with_header(kMagic32, 7, 0, std::vector<uint32_t>{}))),
       65,
       {"holds 0 tokens"}},
  };
  for (const Case& c : cases) {
    INFO(c.failure.message);
    CHECK(c.failure.code == c.code);
    for (const std::string& word : c.words) CHECK_THAT(c.failure.message, Contains(word));
  }
}

TEST_CASE("a token that the vocabulary does not hold is found in the sample that meets it") {
  const TemporaryFolder folder;
  auto tokens = counting<uint16_t>(14);
  tokens[9] = 50'257;
  const Samples file(write_file(folder.path / "bad.bin", as_bytes(tokens)), TokenFormat::tokens, 4, 50257);
  CHECK_NOTHROW(read(file, 0));
  CHECK_NOTHROW(read(file, 1));
  const Failure f = failure_of([&] { read(file, 2); });
  CHECK(f.code == 65);
  CHECK_THAT(f.message, Contains("bad.bin") && Contains("token 50257 at index 9, not below model.vocab 50257"));
}

TEST_CASE("a sample's last target is checked as well") {
  const TemporaryFolder folder;
  auto tokens = counting<uint32_t>(9);
  tokens[8] = 0xFFFF'FFFF;  // would be -1 in an int32
  const Samples file(write_file(folder.path / "t", as_bytes(tokens)), TokenFormat::tokens, 4, 70'000);
  CHECK(failure_of([&] { read(file, 1); }).code == 65);
}

TEST_CASE("a file that shrinks after it was opened is an error, not a signal") {
  const TemporaryFolder folder;
  const auto path = write_file(folder.path / "t", as_bytes(counting<uint8_t>(200)));
  const Samples file(path, TokenFormat::bytes, 4, 256);
  REQUIRE(truncate(path.c_str(), 50) == 0);
  CHECK_NOTHROW(read(file, 1));
  const Failure f = failure_of([&] { read(file, 30); });
  CHECK(f.code == 65);
  CHECK_THAT(f.message, Contains(path.string()) && Contains("ends at byte"));
  CHECK(failure_of([&] { file.source->fingerprint(); }).code == 65);
}

TEST_CASE("the fingerprint notices another size and other bytes, in small and in large files") {
  const TemporaryFolder folder;
  const auto of = [&](const std::vector<uint8_t>& bytes) {
    return TokenFile(write_file(folder.path / "t", as_bytes(bytes)), TokenFormat::bytes, 5, 256).fingerprint();
  };
  for (const size_t size : {size_t{100}, size_t{1} << 20, (size_t{1} << 20) + 1, size_t{3'000'001}}) {
    INFO("size " << size);
    const auto bytes = counting<uint8_t>(size);
    const std::string print = of(bytes);
    CHECK(of(bytes) == print);
    CHECK_THAT(print, Matches(std::to_string(size) + " bytes, xxh3 [0-9a-f]{16}"));
    for (const size_t at : {size_t{0}, size - 1}) {
      auto changed = bytes;
      changed[at] ^= 1;
      CHECK_FALSE(of(changed) == print);
    }
    auto longer = bytes;
    longer.push_back(0);
    CHECK_FALSE(of(longer) == print);
  }
}
