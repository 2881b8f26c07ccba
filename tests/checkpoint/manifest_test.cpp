#include <cmath>
#include <nlohmann/json.hpp>

#include "runtime/base/hash.h"
#include "tests/checkpoint/fixture.h"

namespace ddp {
namespace {

Manifest example() {
  Manifest manifest;
  manifest.state = {{{.attempted_step = 1842,
                      .applied_steps = 1840,
                      .loss_scale = 0x1p24f / 3,
                      .growth_count = 1999,
                      .floor_skips = 4},
                     58912},
                    {{"beta1_power", std::pow(0.9, 1840)}, {"beta2_power", std::pow(0.95, 1840) * 0x1p-900}},
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

TEST_CASE("AdamW's powers also stand where they did before there was a list of scalars, and are read from there") {
  nlohmann::ordered_json json = nlohmann::ordered_json::parse(manifest_text(example()));
  CHECK(json["beta1_power"] == json["optimizer"]["beta1_power"]);
  CHECK(json["beta2_power"] == json["optimizer"]["beta2_power"]);
  json.erase("optimizer");
  json.erase("manifest_xxh3");
  const std::string text = json.dump();
  json["manifest_xxh3"] = hash_text(xxh3(std::as_bytes(std::span(text))));
  CHECK(parse_manifest(json.dump(), "m").state == example().state);
}

TEST_CASE("an optimizer's scalars are any, and none") {
  Manifest manifest = example();
  manifest.state.optimizer_scalars = {{"one", 0.1}, {"two", -1e-300}, {"three", 3.0}};
  CHECK(parse_manifest(manifest_text(manifest), "m").state == manifest.state);
  manifest.state.optimizer_scalars.clear();
  const std::string text = manifest_text(manifest);
  CHECK(parse_manifest(text, "m").state == manifest.state);
  CHECK(text.find("beta1_power") == text.npos);
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
