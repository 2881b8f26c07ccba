#include "runtime/base/text_check.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "runtime/base/error.h"

namespace ddp {
namespace {

// Length of the UTF-8 sequence at the start of `s` (1-4), or 0: a stray or overlong byte, a surrogate.
size_t sequence_length(std::string_view s) {
  const auto byte = [s](size_t i) { return i < s.size() ? uint8_t(s[i]) : uint8_t(0); };
  const auto tail = [&](size_t i) { return (byte(i) & 0xC0) == 0x80; };
  const uint8_t b = byte(0);
  if (b < 0x80) return 1;
  if (b >= 0xC2 && b <= 0xDF && tail(1)) return 2;
  if ((b & 0xF0) == 0xE0 && tail(1) && tail(2)) {
    const bool overlong = b == 0xE0 && byte(1) < 0xA0, surrogate = b == 0xED && byte(1) >= 0xA0;
    return overlong || surrogate ? 0 : 3;
  }
  if (b >= 0xF0 && b <= 0xF4 && tail(1) && tail(2) && tail(3)) {
    const bool overlong = b == 0xF0 && byte(1) < 0x90, too_large = b == 0xF4 && byte(1) >= 0x90;
    return overlong || too_large ? 0 : 4;
  }
  return 0;
}

// Of a whole sequence: what makes it unfit, or nothing.
std::string unfit(std::string_view sequence, TextForm form) {
  const auto first = uint8_t(sequence[0]);
  const bool breaks = sequence == "\n" || sequence == "\r";
  const bool separates = sequence == "\xE2\x80\xA8" || sequence == "\xE2\x80\xA9";
  if (form == TextForm::block && (breaks || separates || sequence == "\t")) return {};
  if (breaks) return "a line break";
  if (separates) return "a line separator";
  if (sequence == "\t") return "a tab";
  if (first < 0x20 || first == 0x7F) return fmt::format("the control character 0x{:02x}", first);
  if (first == 0xC2 && uint8_t(sequence[1]) < 0xA0)
    return fmt::format("the control character U+{:04X}", uint8_t(sequence[1]));
  return {};
}

struct Piece {
  size_t length;
  std::string flaw;  // empty: none
};

Piece first_piece(std::string_view text, TextForm form) {
  const size_t length = sequence_length(text);
  if (length == 0) return {1, fmt::format("the byte 0x{:02x}, which is not UTF-8", uint8_t(text[0]))};
  return {length, unfit(text.substr(0, length), form)};
}

}  // namespace

std::optional<TextFlaw> find_text_flaw(std::string_view text, TextForm form) {
  for (size_t at = 0; at < text.size();) {
    Piece piece = first_piece(text.substr(at), form);
    if (!piece.flaw.empty()) return TextFlaw{at, std::move(piece.flaw)};
    at += piece.length;
  }
  return std::nullopt;
}

std::string one_line(std::string_view text, size_t most_bytes) {
  std::string shown;
  while (!text.empty()) {
    const Piece piece = first_piece(text, TextForm::name);
    if (shown.size() + piece.length > most_bytes) break;
    shown += piece.flaw.empty() ? std::string(text.substr(0, piece.length)) : std::string(piece.length, '?');
    text.remove_prefix(piece.length);
  }
  return shown;
}

std::string quoted_name(std::string_view name) {
  constexpr size_t kMostBytes = 80;
  return "\"" + one_line(name, kMostBytes) + (name.size() > kMostBytes ? "...\"" : "\"");
}

void check_own_environment() {
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    if (!text.starts_with("DDP_")) continue;
    const size_t equals = std::min(text.find('='), text.size() - 1);
    if (const auto flaw = find_text_flaw(text.substr(equals + 1), TextForm::name))
      throw Error(ExitCode::usage, fmt::format("{} holds {}", one_line(text.substr(0, equals)), flaw->what),
                  "set it to one line of UTF-8, or unset it");
  }
}

std::optional<std::string> plain_variable(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || find_text_flaw(value, TextForm::name)) return std::nullopt;
  return value;
}

}  // namespace ddp
