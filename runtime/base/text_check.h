// The one door for values that name or say something: words of the command line, DDP_* variables, scalars of the YAML.
// A name that holds a line break or bytes that are no text is written in one place and read back as another elsewhere,
// and steers the terminal that it is printed on. What passes here is the same everywhere.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace ddp {

enum class TextForm {
  name,   // on one line
  block,  // may have tabs, line breaks and separators
};

struct TextFlaw {
  size_t at = 0;     // the byte where it begins
  std::string what;  // "a line break", "the control character 0x1b", "the byte 0xff, which is not UTF-8"
};

// The first thing in `text` that does not belong there: a byte that is not UTF-8 (stray, overlong, a surrogate), a
// control character (C0, DEL, C1), in a name also a line or paragraph separator (U+2028, U+2029).
std::optional<TextFlaw> find_text_flaw(std::string_view text, TextForm form);

// The text with '?' in place of every byte of a flaw, cut to `most_bytes` at the end of a character: to be quoted in a
// message of one line.
std::string one_line(std::string_view text, size_t most_bytes = std::string_view::npos);

// A name of any bytes, in quotes: one_line of it, cut at 80 bytes.
std::string quoted_name(std::string_view name);

// The environment of this process has no flawed value in our variables (DDP_*). Errors: usage (64) naming the variable.
void check_own_environment();

// The value of a variable; empty where it is not set, or not one line of text.
std::optional<std::string> plain_variable(const char* name);

}  // namespace ddp
