#include <cmath>

#include "tests/checkpoint/fixture.h"

namespace ddp {
namespace {

Manifest example() {
  Manifest manifest;
  manifest.state = {1841,
                    1840,
                    58912,
                    std::pow(0.9, 1840),
                    std::pow(0.95, 1840) * 0x1p-900,
                    0x1p24f / 3,
                    1999,
                    4,
                    "a \"quoted\" one",
                    "00ff",
                    "data:\n  train: \"ünï\"\n"};
  manifest.files[kModelFile] = {100, 0x0123456789abcdef};
  manifest.files[kOptimizerFile] = {200, 0xffffffffffffffff};
  return manifest;
}

TEST_CASE("a manifest round-trips every value, doubles to the last bit") {
  const Manifest before = example();
  const Manifest after = parse_manifest(manifest_text(before), "m");
  CHECK(after.state == before.state);
  for (const auto& [name, file] : before.files) {
    CHECK(after.files.at(name).bytes == file.bytes);
    CHECK(after.files.at(name).xxh3 == file.xxh3);
  }
}

TEST_CASE("a changed digit in a manifest is found") {
  std::string text = manifest_text(example());
  const size_t at = text.find("58912");
  REQUIRE(at != std::string::npos);
  text[at] = '6';
  std::string message;
  CHECK(test::failure([&] { parse_manifest(text, "m.json"); }, &message) == 65);
  CHECK(message == "m.json is not a valid manifest: its contents do not match their own hash");
}

TEST_CASE("a manifest of another format version is refused by its number") {
  std::string message;
  CHECK(test::failure([&] { parse_manifest(R"({"format_version": 1})", "m"); }, &message) == 65);
  CHECK(message == "m is not a valid manifest: its format version is 1, this program reads 2");
}

TEST_CASE("malformed manifests are one clear error") {
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("[]"), std::string("{}"), std::string("null"),
        "{\"a\":" + std::string(1'000'000, '['), std::string("{\"format_version\":\"2\"}"),
        std::string("{\"format_version\":2}"), std::string("\xff")}) {
    std::string message;
    CHECK(test::failure([&] { parse_manifest(text, "m"); }, &message) == 65);
    CHECK(message.starts_with("m is not a valid manifest: "));
    CHECK(message.size() < 300);
    CHECK(message.find('\n') == std::string::npos);
  }
}

TEST_CASE("a deeply nested manifest is refused before anything recurses into it") {
  const std::string deep = std::string(100'000, '[') + std::string(100'000, ']');
  const std::string text = R"({"format_version":2,"manifest_xxh3":"","a":)" + deep + "}";
  std::string message;
  CHECK(test::failure([&] { parse_manifest(text, "m"); }, &message) == 65);
  CHECK(message == "m is not a valid manifest: it is nested too deeply");
}

TEST_CASE("a configuration that is not UTF-8 can still be committed") {
  Manifest manifest = example();
  manifest.state.config_yaml = "train: \xff\n";
  CHECK(parse_manifest(manifest_text(manifest), "m").state.config_yaml == "train: \xef\xbf\xbd\n");
}

}  // namespace
}  // namespace ddp
