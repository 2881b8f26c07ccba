#include "runtime/base/shell_word.h"

#include <stdio.h>

#include <catch2/catch.hpp>
#include <string>

using namespace ddp;

TEST_CASE("a path is no option") {
  CHECK(shell_path("-x/a b") == "'./-x/a b'");
  CHECK(shell_path("a-x") == "a-x");
}

TEST_CASE("a shell reads a word back as it was, and plain words stay readable") {
  CHECK(shell_word("runs/a-1_b=c,d:e@f%+.") == "runs/a-1_b=c,d:e@f%+.");
  CHECK(shell_word("") == "''");
  CHECK(shell_word("it's") == "'it'\\''s'");
  for (const std::string word :
       {"", "a b", "it's", "'", "$HOME", "`id`", "~", "*", "\\", "\"", "#", "!", "caf\xc3\xa9", "a;b&c|d"}) {
    INFO(word);
    FILE* shell = ::popen(("printf %s " + shell_word(word)).c_str(), "r");
    REQUIRE(shell != nullptr);
    char read[100] = {};
    const size_t n = ::fread(read, 1, sizeof read, shell);
    CHECK(::pclose(shell) == 0);
    CHECK(std::string(read, n) == word);
  }
}
