#include "runtime/base/text_check.h"

#include <stdlib.h>

#include <catch2/catch.hpp>

#include "runtime/base/error.h"

using namespace ddp;

namespace {

std::string flaw_of(std::string_view text, TextForm form = TextForm::name) {
  const auto flaw = find_text_flaw(text, form);
  return flaw ? std::to_string(flaw->at) + ": " + flaw->what : "";
}

}  // namespace

TEST_CASE("text of every plane is fit, on one line or on several") {
  for (const char* text : {"", "runs/a", " a b ", "# \"'\\:", "caf\xc3\xa9", "\xc2\xa0", "\xef\xbb\xbf", "\xef\xbf\xbf",
                           "\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf", "\xed\x9f\xbf"}) {
    INFO(text);
    CHECK(flaw_of(text).empty());
    CHECK(flaw_of(text, TextForm::block).empty());
    CHECK(one_line(text) == text);
  }
}

TEST_CASE("breaks, tabs and separators belong into a block alone") {
  for (const char* text : {"a\nb", "a\rb", "a\tb", "a\xe2\x80\xa8", "a\xe2\x80\xa9"}) {
    INFO(text);
    CHECK(flaw_of(text).starts_with("1: a "));
    CHECK(flaw_of(text, TextForm::block).empty());
  }
  CHECK(flaw_of("a\nb") == "1: a line break");
}

TEST_CASE("control characters and bytes that are not UTF-8 are named with their place") {
  const std::pair<std::string_view, const char*> rows[] = {
      {{"\0", 1}, "0: the control character 0x00"},
      {"a\x1b[2J", "1: the control character 0x1b"},
      {"ab\x7f", "2: the control character 0x7f"},
      {"\xc2\x80", "0: the control character U+0080"},
      {"\xc3\xa9\xc2\x9f", "2: the control character U+009F"},
      {"x\xff", "1: the byte 0xff, which is not UTF-8"},
      {"\xc3", "0: the byte 0xc3, which is not UTF-8"},              // cut
      {"\xc0\xaf", "0: the byte 0xc0, which is not UTF-8"},          // overlong
      {"\xe0\x80\xaf", "0: the byte 0xe0, which is not UTF-8"},      // overlong
      {"\xed\xa0\x80", "0: the byte 0xed, which is not UTF-8"},      // a surrogate
      {"\xf4\x90\x80\x80", "0: the byte 0xf4, which is not UTF-8"},  // beyond U+10FFFF
      {"\x80", "0: the byte 0x80, which is not UTF-8"},
  };
  for (const auto& [text, flaw] : rows) {
    INFO(flaw);
    CHECK(flaw_of(text) == flaw);
    CHECK(flaw_of(text, TextForm::block) == flaw);
    CHECK(flaw_of(one_line(text)).empty());
  }
}

TEST_CASE("what is quoted in a message is one line, cut between characters") {
  CHECK(one_line("a\nb\xff\x1b") == "a?b??");
  CHECK(one_line("caf\xc3\xa9s", 4) == "caf");
  CHECK(one_line("caf\xc3\xa9s", 5) == "caf\xc3\xa9");
}

TEST_CASE("a variable of ours that is no text is refused by name, one of others' is passed over") {
  CHECK_NOTHROW(check_own_environment());
  ::setenv("DDP_NVML", "/lib/a\nb", 1);
  ::setenv("CONDA_PREFIX", "/conda\xff", 1);
  try {
    check_own_environment();
    FAIL("it passed");
  } catch (const Error& e) {
    CHECK(e.code() == ExitCode::usage);
    CHECK(std::string(e.what()).starts_with("DDP_NVML holds a line break; "));
  }
  ::unsetenv("DDP_NVML");
  CHECK_NOTHROW(check_own_environment());
  CHECK_FALSE(plain_variable("CONDA_PREFIX"));
  ::setenv("CONDA_PREFIX", "/conda", 1);
  CHECK(plain_variable("CONDA_PREFIX") == "/conda");
  ::unsetenv("CONDA_PREFIX");
}
