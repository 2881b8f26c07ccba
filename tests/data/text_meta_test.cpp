// What stands beside token files: read as it is written, and whatever else stands there is one error that names the
// key.
#include "runtime/data/text_meta.h"

#include <fmt/core.h>

#include <catch2/catch.hpp>

#include "runtime/data/token_source.h"
#include "tests/data/token_bytes.h"
#include "tests/support/failure.h"
#include "tests/support/mutated.h"
#include "tests/support/temporary_folder.h"

using namespace ddp;
using namespace ddp::test;
using Catch::Contains;

namespace {

const std::string kMeta = R"({"tokenizer": "wordpiece", "vocab": 4096,
 "special": {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4},
 "files": {"train.bin": {"documents": 62, "tokens": 13, "bytes": 52}, "valid.bin": {"documents": 2, "tokens": 7, "bytes": 21}}}
)";

std::string with(const std::string& from, const std::string& to) {
  std::string text = kMeta;
  return text.replace(text.find(from), from.size(), to);
}

void write(const std::filesystem::path& path, const std::string& text) {
  write_file(path, std::as_bytes(std::span(text)));
}

}  // namespace

TEST_CASE("meta.json: vocabulary, special tokens and files") {
  const TextMeta meta = parse_text_meta(kMeta, "meta.json");
  CHECK(meta.vocab == 4096);
  CHECK(meta.special == decltype(meta.special){{"pad", 0}, {"unk", 1}, {"cls", 2}, {"sep", 3}, {"mask", 4}});
  REQUIRE(meta.files.size() == 2);
  CHECK(meta.files.at("valid.bin").tokens == 7);
  CHECK(meta.files.at("valid.bin").bytes == 21);
  CHECK(parse_text_meta(R"({"vocab":1,"special":{},"files":{},"more":[{}]})", "m").special.empty());
}

TEST_CASE("meta.json: what is missing, of another type or out of range is one line that names the key") {
  struct Case {
    std::string text;
    const char* says;
  };
  const std::vector<Case> cases = {
      {"", "m/meta.json is no JSON at byte 1;"},
      {"{", "is no JSON at byte 2;"},
      {kMeta + kMeta, "is no JSON at byte"},
      {kMeta + '\0', "has a zero byte"},
      {"[]", "says [] where the whole takes an object"},
      {"{}", "m/meta.json has no vocab;"},
      {with("\"vocab\"", "\"Vocab\""), "has no vocab;"},
      {with("4096", "0"), "says 0 where vocab takes an integer from 1 to 2147483647"},
      {with("4096", "2147483648"), "says 2147483648 where vocab takes"},
      {with("4096", "18446744073709551615"), "says 18446744073709551615 where vocab takes"},
      {with("4096", "4096.0"), "says 4096.0 where vocab takes"},
      {with("4096", "1e999"), "a number that is too large"},
      {with("4096", "\"4096\""), "says \"4096\" where vocab takes"},
      {with("\"special\"", "\"Special\""), "has no special;"},
      {with("\"mask\": 4}", "\"mask\": -4}"), "says -4 where special.mask takes an integer from 0 to 4095"},
      {with("\"mask\": 4}", "\"mask\": 4096}"), "says 4096 where special.mask takes"},
      {with("\"mask\": 4}", "\"mask\": null}"), "says null where special.mask takes"},
      {with("\"mask\": 4}", "\"a\\nb\": []}"), "says [] where special.a?b takes"},
      {R"({"vocab":1,"special":[],"files":{}})", "says [] where special takes an object"},
      {R"({"vocab":1,"special":{}})", "has no files;"},
      {R"({"vocab":1,"special":{},"files":7})", "says 7 where files takes an object"},
      {R"({"vocab":1,"special":{},"files":{"x":7}})", "says 7 where files.x takes an object"},
      {with("\"tokens\": 7", "\"tokens\": -7"), "says -7 where files.valid.bin.tokens takes"},
      {with("\"tokens\": 7, ", ""), "has no files.valid.bin.tokens;"},
      {with("\"bytes\": 21", "\"bytes\": true"), "says true where files.valid.bin.bytes takes"},
      {"{\"a\":" + std::string(300'000, '['), "is nested too deeply"},
      {"{\"vocab\": \"" + std::string(100'000, 'v') + "\"}", "vvv where vocab takes"},
      {"{\"\xff\": 1}", "is no JSON at byte"},
  };
  for (const Case& c : cases) {
    INFO(c.text.substr(0, 300));
    const Failure f = failure_of([&] { parse_text_meta(c.text, "m/meta.json"); });
    INFO(f.message);
    CHECK(f.code == 65);
    CHECK_THAT(f.message, Contains(c.says) && Contains("m/meta.json") && Contains("prepare_text.py writes it"));
    CHECK(f.message.find('\n') == std::string::npos);
    CHECK(f.message.size() < 300);
  }
}

TEST_CASE("meta.json: any bytes are read or refused with 65") {
  const std::vector<std::string> words = {"{",    "}",         "[",         "]",  ":",    ",",     "\"",
                                          "-1",   "1e400",     "4.5",       "\n", "null", "false", "\xff",
                                          "\\u0", "\"vocab\"", "\"files\"", "0",  "4096"};
  int num_read = 0;
  for (int i = 0; i < 10 * num_mutations(); ++i) {
    std::mt19937 random{unsigned(i)};
    const std::string text = mutated(kMeta, random, {.words = words});
    TextMeta meta;
    const Failure f = failure_of([&] { meta = parse_text_meta(text, "meta.json"); });
    if (f.code == 0) {
      ++num_read;
      for (const auto& [name, id] : meta.special) REQUIRE((id >= 0 && id < meta.vocab));
      for (const auto& [name, file] : meta.files) REQUIRE((file.tokens >= 0 && file.bytes >= 0));
    } else if (f.code != 65 || f.message.find('\n') != std::string::npos) {
      FAIL(f.code << ": " << f.message << " for " << text);
    }
  }
  CHECK(num_read > 0);
  CHECK(num_read < 5 * num_mutations());
}

TEST_CASE("a token file's bytes come from meta.json, where that is there and knows the file") {
  const TemporaryFolder folder;
  const BatchLayout layout({{.name = "tokens", .sample = {4}, .limit = 4096},
                            {.name = "targets", .sample = {4}, .limit = 4096, .is_target = true}},
                           1);
  const auto path = write_file(folder.path / "train.bin", as_bytes(counting<uint16_t>(13)));
  const auto bytes = [&] { return open_tokens({.paths = {path}, .batch = layout})->bytes_per_target(); };
  const auto failure = [&] { return failure_of(bytes); };
  CHECK(bytes() == 0);
  write(folder.path / "meta.json", kMeta);
  CHECK(bytes() == 4);
  CHECK(open_bytes({.paths = {path}, .batch = layout})->bytes_per_target() == 1);
  write(folder.path / "meta.json", with("train.bin", "other.bin"));
  CHECK(bytes() == 0);
  write(folder.path / "meta.json", with("\"tokens\": 13", "\"tokens\": 14"));
  CHECK(failure().code == 65);
  CHECK_THAT(failure().message,
             Contains(folder.path.string() + "/meta.json says that train.bin has 14 tokens, it holds 13;"));
  write(folder.path / "meta.json", with("4096", "x"));
  CHECK(failure().code == 65);
  write(folder.path / "meta.json", kMeta + std::string(1 << 20, ' '));
  CHECK(failure().code == 65);
  CHECK_THAT(failure().message, Contains("at most 1048576 are read"));
  std::filesystem::remove(folder.path / "meta.json");
  std::filesystem::create_directory(folder.path / "meta.json");
  CHECK(failure().code == 66);
}
