// A text that is a number as a whole: std::from_chars, which takes neither spaces nor a sign '+' nor the locale's
// comma, and nothing may follow.
#pragma once

#include <charconv>
#include <optional>
#include <string_view>

namespace ddp {

template <class Number>
std::optional<Number> parse_number(std::string_view text) {
  Number number{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || stop != end) return std::nullopt;
  return number;
}

}  // namespace ddp
