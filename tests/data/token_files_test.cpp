// Several files of tokens as one, and the scan that finds a bad one among their tokens.
#include <catch2/catch.hpp>
#include <fstream>
#include <map>

#include "runtime/data/token_scan.h"
#include "runtime/data/token_source.h"
#include "tests/data/token_bytes.h"
#include "tests/support/failure.h"
#include "tests/support/temporary_folder.h"

using namespace ddp;
using namespace ddp::test;
using Catch::Contains;

namespace {

constexpr int64_t kContext = 4;

struct Source {
  explicit Source(std::vector<std::filesystem::path> paths, int64_t vocab = 50257, Split split = Split::valid)
      : layout({{.name = "tokens", .sample = {kContext}, .limit = vocab},
                {.name = "targets", .sample = {kContext}, .limit = vocab, .is_target = true}},
               1),
        source(open_tokens({.paths = std::move(paths), .split = split, .seed = 3, .batch = layout})) {}

  std::vector<int32_t> sample(uint64_t position, const char* input = "tokens") const {
    HostBatch batch(layout);
    source->fill(batch, position);
    const std::span<int32_t> values = batch.values<int32_t>(input);
    return {values.begin(), values.end()};
  }

  BatchLayout layout;
  std::unique_ptr<DataSource> source;
};

template <class Stored>
std::filesystem::path write_tokens(const TemporaryFolder& folder, const char* name, const std::vector<Stored>& tokens) {
  return write_file(folder.path / name, as_bytes(tokens));
}

std::vector<TokenFile> files_of(const std::vector<std::filesystem::path>& paths, int64_t vocab) {
  std::vector<TokenFile> files;
  for (const auto& path : paths) files.emplace_back(path, TokenFormat::tokens, kContext + 1, vocab);
  return files;
}

}  // namespace

TEST_CASE("the samples of several files follow one another, and none spans two") {
  const TemporaryFolder folder;
  const auto a = write_tokens(folder, "a", counting<uint16_t>(11, 100));  // 2 samples, 2 tokens are left over
  const auto b = write_file(folder.path / "b", with_header(20240801, 7, 5, counting<uint32_t>(5, 200)));
  const auto c = write_tokens(folder, "c", counting<uint16_t>(13, 300));
  const Source all({a, b, c});
  REQUIRE(all.source->num_samples() == 2 + 1 + 3);
  const std::vector<int32_t> firsts = {100, 104, 200, 300, 304, 308};
  for (size_t i = 0; i < firsts.size(); ++i) {
    const int32_t x = firsts[i];
    CHECK(all.sample(i) == std::vector<int32_t>{x, x + 1, x + 2, x + 3});
    CHECK(all.sample(i, "targets") == std::vector<int32_t>{x + 1, x + 2, x + 3, x + 4});
  }
  // Training sees each of them once in an epoch.
  const Source shuffled({a, b, c}, 50257, Split::train);
  std::map<int32_t, int> seen;
  for (uint64_t i = 0; i < 6; ++i) ++seen[shuffled.sample(i)[0]];
  CHECK(seen.size() == 6);
}

TEST_CASE("one file is what it was, several have a fingerprint of all in their order") {
  const TemporaryFolder folder;
  const auto a = write_tokens(folder, "a", counting<uint16_t>(11, 100));
  const auto b = write_tokens(folder, "b", counting<uint16_t>(11, 200));
  const auto print = [](std::vector<std::filesystem::path> paths) {
    return Source(std::move(paths)).source->fingerprint();
  };
  CHECK(print({a}) == TokenFile(a, TokenFormat::tokens, 5, 50257).fingerprint());
  CHECK_THAT(print({a, b}), Contains("2 files, xxh3 "));
  CHECK(print({a, b}) != print({b, a}));
  write_tokens(folder, "b", counting<uint16_t>(11, 201));
  CHECK(print({a}) == print({a}));
  const std::string before = print({a, b});
  write_tokens(folder, "b", counting<uint16_t>(11, 200));
  CHECK(print({a, b}) != before);
}

TEST_CASE("each file holds a sample, or is refused by its name") {
  const TemporaryFolder folder;
  const auto a = write_tokens(folder, "a", counting<uint16_t>(11));
  const auto b = write_tokens(folder, "short", counting<uint16_t>(4));
  const Failure f = failure_of([&] { Source({a, b}); });
  CHECK(f.code == 65);
  CHECK_THAT(f.message, Contains("short holds 4 tokens; a sample needs 5"));
}

TEST_CASE("bytes of text count for each file by its tokens") {
  const TemporaryFolder folder;
  for (const char* name : {"x", "y"}) std::filesystem::create_directory(folder.path / name);
  const auto a = write_tokens(folder, "x/a", counting<uint16_t>(10)),
             b = write_tokens(folder, "y/b", counting<uint16_t>(30));
  std::ofstream(folder.path / "x/meta.json")
      << R"({"vocab": 99, "special": {}, "files": {"a": {"tokens": 10, "bytes": 50}}})";
  CHECK(Source({a, b}).source->bytes_per_target() == 0);  // the other is not known
  std::ofstream(folder.path / "y/meta.json")
      << R"({"vocab": 99, "special": {}, "files": {"b": {"tokens": 30, "bytes": 30}}})";
  CHECK(Source({a, b}).source->bytes_per_target() == 2);
  CHECK(Source({a}).source->bytes_per_target() == 5);
}

TEST_CASE("a scan finds the first bad token of all files, on any number of threads") {
  const TemporaryFolder folder;
  constexpr size_t kMany = 3'500'000;  // more than a piece of the scan
  std::vector<uint16_t> tokens(kMany, 7);
  const auto a = write_tokens(folder, "a", tokens), same = write_tokens(folder, "same", tokens);
  tokens[kMany - 1] = tokens[3'000'001] = 500;
  tokens[2'999'999] = 501;
  const auto b = write_tokens(folder, "b", tokens);
  const auto files = files_of({a, b, same}, 500);
  for (const int threads : {1, 2, 5}) {
    std::atomic<int> signs{0};
    const Failure f = failure_of([&] { check_tokens(files, {.threads = threads, .still_alive = [&] { ++signs; }}); });
    CHECK(f.code == 65);
    CHECK_THAT(f.message, Contains((b.string() + " holds token 501 at index 2999999, not below model.vocab 500")));
    CHECK(signs > 3);
    check_tokens(files_of({a, same}, 500), {.threads = threads});
    check_tokens(files_of({b}, 502), {.threads = threads});
  }
  std::atomic<bool> stop{true};
  check_tokens(files, {.stop = &stop});  // leaves off
}

TEST_CASE("what every value of its width is below needs no scan") {
  const TemporaryFolder folder;
  const auto a = write_tokens(folder, "a", counting<uint16_t>(11));
  CHECK(unchecked_bytes(files_of({a}, 65536), {}) == 0);
  CHECK(unchecked_bytes(files_of({a}, 65535), {}) == 22);
}

TEST_CASE("a verdict is remembered for these very files and this vocabulary, and believed for nothing else") {
  const TemporaryFolder folder;
  const auto verdict = folder.path / "train.checked";
  const auto a = write_tokens(folder, "a", counting<uint16_t>(1000)),
             b = write_tokens(folder, "b", counting<uint16_t>(500));
  const auto unchecked = [&](const std::vector<std::filesystem::path>& paths, int64_t vocab) {
    return unchecked_bytes(files_of(paths, vocab), verdict);
  };
  CHECK(unchecked({a, b}, 1000) == 3000);
  check_tokens(files_of({a, b}, 1000), {.verdict = verdict});
  CHECK(unchecked({a, b}, 1000) == 0);
  CHECK(unchecked({b, a}, 1000) == 3000);
  CHECK(unchecked({a, b}, 1001) == 3000);
  CHECK(unchecked({a}, 1000) == 2000);

  const Failure first = failure_of([&] { check_tokens(files_of({a, b}, 999), {.verdict = verdict}); });
  const Failure again = failure_of([&] { unchecked({a, b}, 999); });  // without a scan
  CHECK(first.code == 65);
  CHECK(first.message == again.message);
  const std::string bad = read_text(verdict);
  std::vector<uint16_t> mended = counting<uint16_t>(1000);
  mended[999] = 0;
  write_tokens(folder, "a", mended);
  CHECK(unchecked({a, b}, 999) == 3000);

  for (const char* text : {"", "{", "[]", "{\"files\": 3}", "{\"files\": [], \"bad\": null}", "null", "\xff"}) {
    std::ofstream(verdict) << text;
    CHECK(unchecked({a, b}, 999) == 3000);
  }
  // The right files, and a token that is not bad, or that is none.
  check_tokens(files_of({a, b}, 999), {.verdict = verdict});
  const std::string good = read_text(verdict);
  for (const char* lie : {R"({"file": 0, "index": 5})", R"({"file": 7, "index": 5})", R"({"file": 0, "index": -1})",
                          R"({"file": 0, "index": 1000000})", R"({"file": "a"})", "7"}) {
    std::string text = good;
    text.replace(text.find("null"), 4, lie);
    std::ofstream(verdict) << text;
    CHECK(unchecked({a, b}, 999) == 3000);
  }
  // A folder that takes no file costs a scan, not the run.
  check_tokens(files_of({a, b}, 999), {.verdict = folder.path / "none" / "train.checked"});
}
