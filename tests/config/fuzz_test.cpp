// Mutations of a valid configuration: parse_config either succeeds, and then prints to the same values, or throws an
// Error 78 of one line. Seeds are fixed, so that a failure repeats.
#include <catch2/catch.hpp>
#include <random>

#include "tests/config/support.h"

using namespace ddp;
using namespace ddp::test;

namespace {

const std::string kValid =
    "model: {name: gpt2, preset: gpt2-small, layers: 2, dropout: 0.1}\n"
    "data:\n  format: bytes\n  train: \"a b\"   # text\n  valid: 'x'\n"
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

std::string mutate(std::string text, std::mt19937& random) {
  const auto below = [&random](size_t n) { return n == 0 ? 0 : random() % n; };
  for (size_t n_edits = 1 + below(4); n_edits > 0; --n_edits) {
    const size_t at = below(text.size() + 1);
    switch (below(5)) {
      case 0:
        text.insert(at, kPieces[below(kPieces.size())]);
        break;
      case 1:
        text.erase(at, below(8));
        break;
      case 2:
        text.insert(at, text.substr(below(text.size() + 1), below(40)));
        break;
      case 3:
        text.insert(at, 1, char(below(256)));
        break;
      case 4:
        text.resize(at);
        break;
    }
  }
  return text;
}

void check_outcome(const std::string& text) {
  try {
    const Config config = parse_config(text, "t.yaml");
    if (flatten(parse_config(to_yaml(config), "again.yaml")) != flatten(config)) FAIL("prints differently: " << text);
  } catch (const Error& e) {
    if (e.code() != ExitCode::config) FAIL("code " << int(e.code()) << " for: " << text);
    if (std::string(e.what()).find('\n') != std::string::npos) FAIL("several lines: " << e.what());
  }
}

}  // namespace

TEST_CASE("a mutated configuration parses or is refused with 78") {
  check_outcome(kValid);
  for (unsigned seed = 0; seed < 20'000; ++seed) {
    std::mt19937 random(seed);
    check_outcome(mutate(kValid, random));
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
