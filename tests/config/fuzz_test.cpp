// Mutations of a valid configuration: parse_config either succeeds, and then prints to the same values, or throws an
// Error 78 of one line. Seeds are fixed, so that a failure repeats.
#include <fmt/core.h>

#include <catch2/catch.hpp>
#include <random>

#include "runtime/base/text_check.h"
#include "runtime/config/path_text.h"
#include "tests/config/support.h"
#include "tests/support/mutated.h"

using namespace ddp;
using namespace ddp::test;

namespace {

const std::string kValid =
    "model: {name: gpt2, preset: gpt2-small, layers: 2, dropout: 0.1}\n"
    "data:\n  format: bytes\n  train: \"a b\"   # text\n  valid: ['x', y]\n"
    "train:\n  steps: 400\n  deterministic: true\n  seed: 1\n"
    "optimizer:\n  lr: 5e-4\n  betas: [0.9, 0.95]\n"
    "output_dir: |\n  runs\n";

// What YAML gives meaning to, and what has broken readers before.
const std::vector<std::string> kPieces = {"{",           "}",          "[",
                                          "]",           ":",          ": ",
                                          ",",           "\n",         "  ",
                                          "\t",          "- ",         "? ",
                                          "&a ",         "*a",         "!!int ",
                                          "! ",          "|\n",        ">-\n",
                                          "'",           "\"",         "\\",
                                          "\\x00",       "\\u0041",    "#",
                                          "%YAML 1.2\n", "%TAG ! a\n", "---\n",
                                          "...\n",       "<<: ",       "~",
                                          "null",        ".nan",       ".inf",
                                          "010",         "0x1",        "1e999",
                                          "-",           "\r\n",       "\xef\xbb\xbf",
                                          "\xff",        "\xc3\xa9",   "@",
                                          "`",           "train:",     "[[[[[[[[[["};

void append_utf8(std::string& out, char32_t c) {
  const auto tail = [&](int shift) { out += char(0x80 | (c >> shift & 0x3F)); };
  if (c < 0x80) {
    out += char(c);
  } else if (c < 0x800) {
    out += char(0xC0 | c >> 6);
    tail(0);
  } else if (c < 0x10000) {
    out += char(0xE0 | c >> 12);
    tail(6), tail(0);
  } else {
    out += char(0xF0 | c >> 18);
    tail(12), tail(6), tail(0);
  }
}

// For double quotes: control characters and separators as escapes, so that they reach a value through valid YAML.
std::string in_yaml_escapes(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = uint8_t(text[i]);
    if (byte == '"' || byte == '\\')
      out += std::string("\\") + text[i];
    else if (byte < 0x20 || byte == 0x7F)
      out += fmt::format("\\x{:02x}", byte);
    else if (byte == 0xC2 && uint8_t(text[i + 1]) < 0xA0)
      out += fmt::format("\\x{:02x}", uint8_t(text[++i]));
    else if (text.substr(i, 2) == "\xE2\x80" && (uint8_t(text[i + 2]) & 0xFE) == 0xA8)
      out += fmt::format("\\u20{:02x}", uint8_t(text[i += 2]) & 0x2F);
    else
      out += text[i];
  }
  return out;
}

void check_outcome(const std::string& text) {
  try {
    const Config config = parse(text);
    if (flatten(parse(to_yaml(config))) != flatten(config)) FAIL("prints differently: " << text);
  } catch (const Error& e) {
    if (e.code() != ExitCode::config) FAIL("code " << int(e.code()) << " for: " << text);
    if (std::string(e.what()).find('\n') != std::string::npos) FAIL("several lines: " << e.what());
  }
}

// Random characters of all planes, with a bias to what YAML and terminals give meaning to. Valid UTF-8, some of it not
// allowed.
std::string random_text(std::mt19937& random) {
  constexpr char32_t kSpecial[] = {U' ',   U'\t',  U'\n',  U'\r',  U'#',    U':',     U'"',    U'\'',  U'\\',  U',',
                                   U'[',   U'{',   U'&',   U'*',   U'!',    U'|',     U'>',    U'%',   U'@',   U'`',
                                   U'-',   U'?',   U'~',   U'=',   U'\x04', U'\x1b',  U'\x7f', 0x85,   0xA0,   0x2028,
                                   0x2029, 0xFEFF, 0xFFFD, 0xFFFE, 0x1F600, 0x10FFFF, 0x0301,  0x200D, 0x202E, U'é'};
  std::string text;
  for (size_t n = 1 + random() % 12; n > 0; --n) {
    char32_t c = 0;
    switch (random() % 4) {
      case 0:
        c = kSpecial[random() % std::size(kSpecial)];
        break;
      case 1:
        c = U'a' + random() % 26;
        break;
      case 2:
        c = 1 + random() % 0x3FF;
        break;
      case 3:
        c = 1 + random() % 0x10FFFF;
        break;
    }
    if (c >= 0xD800 && c < 0xE000) c = U'x';
    append_utf8(text, c);
  }
  return text;
}

}  // namespace

TEST_CASE("a text value means the same however it is given, and on every way to the ranks") {
  int num_accepted = 0;
  for (unsigned seed = 0; seed < 20'000; ++seed) {
    std::mt19937 random(seed);
    const std::string text = random_text(random);
    INFO("seed " << seed);
    Config config;
    try {
      config = parse_config(kMinimal, "t.yaml", config_registry(), {}, path_as_text(text));
    } catch (const Error& e) {
      REQUIRE(find_text_flaw(text, TextForm::name));
      REQUIRE(int(e.code()) == 78);
      REQUIRE(parse_failure(kMinimal + "output_dir: \"" + in_yaml_escapes(text) + "\"\n").code == 78);
      continue;
    }
    ++num_accepted;
    REQUIRE_FALSE(find_text_flaw(text, TextForm::name));
    REQUIRE(config.output_dir == (text.starts_with('~') ? "./" : "") + text);
    config.output_dir = text;
    REQUIRE(parse(to_yaml(config)).output_dir == text);
    REQUIRE(parse(kMinimal + "output_dir: \"" + in_yaml_escapes(text) + "\"\n").output_dir == text);
  }
  CHECK(num_accepted > 5'000);
  CHECK(num_accepted < 19'000);
}

TEST_CASE("a mutated configuration parses or is refused with 78") {
  check_outcome(kValid);
  for (unsigned seed = 0; seed < 20'000; ++seed) {
    std::mt19937 random(seed);
    check_outcome(mutated(kValid, random, {.words = kPieces}));
  }
  SUCCEED();
}

TEST_CASE("deep and long inputs are refused quickly") {
  for (const std::string piece : {"[", "{", "- ", "? ", "{a: ", "[a, ", "&a ", "\"", "a: ", "'", "!", "%", "---\n"}) {
    std::string text;
    while (text.size() + piece.size() <= 60'000) text += piece;
    INFO(piece);
    CHECK(parse_failure(text).code == 78);
  }
}
