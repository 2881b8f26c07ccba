#include "runtime/data/token_kind.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <set>

#include "runtime/base/file_kind.h"

namespace ddp {
namespace {

using Blocks = std::span<const std::span<const std::byte>>;

// Below these nothing is said. Were a token zero or not by chance, 32 in a row would be the same once in 4 billion.
constexpr int64_t kFewest = 32;
constexpr size_t kFewestDistinct = 16;
// Different 2-byte words that are all numbers, or all text in lines: by chance once in 2 million, and in 20 thousand.
// One token throughout, or two in turn, are tokens still.
constexpr size_t kFewestOfNumbers = 3, kFewestOfLines = 4;

constexpr OtherKind kText = {"text", "data.format bytes takes text, and scripts/prepare_text.py makes tokens of it"};
constexpr OtherKind kNumbers = {"numbers written as text", "write them as uint16 or uint32"};
constexpr OtherKind kFour = {"4-byte integers", "set data.token_bytes to 4"};
constexpr OtherKind kEight = {"8-byte integers", "write them as uint16 or uint32"};
constexpr OtherKind kTwo = {"2-byte integers", "set data.token_bytes to 2"};
constexpr OtherKind kOne = {"1-byte integers", "data.format bytes takes them"};
constexpr OtherKind kSwapped = {"integers of the other byte order (big-endian)", "write them as little-endian"};
constexpr OtherKind kSwappedFour = {"big-endian 4-byte integers",
                                    "write them as little-endian and set data.token_bytes to 4"};
constexpr OtherKind kSwappedEight = {"big-endian 8-byte integers", "write them as little-endian uint16 or uint32"};

// What stands at one place of each group of words.
struct Place {
  int64_t n = 0, zeros = 0, ones = 0;  // ones: all bits are, as in the upper half of a negative number
  std::set<uint64_t> distinct = {};    // the first few that are not zero

  void add(uint64_t word, uint64_t all_bits) {
    ++n;
    zeros += word == 0;
    ones += word == all_bits;
    if (word != 0 && distinct.size() < kFewestDistinct) distinct.insert(word);
  }
  bool is_upper_half() const { return zeros + ones == n && 2 * zeros >= n; }
  bool varies() const { return n - zeros >= kFewest && distinct.size() == kFewestDistinct; }
};

template <class Word, class Visit>
void for_each_word(Blocks blocks, Visit visit) {
  for (const std::span<const std::byte> block : blocks)
    for (size_t i = 0; (i + 1) * sizeof(Word) <= block.size(); ++i) {
      Word word;
      std::memcpy(&word, block.data() + i * sizeof word, sizeof word);
      visit(i, word);
    }
}

// The places of words that are taken in groups of `num` to be one integer.
template <class Word, size_t num>
std::array<Place, num> places_of(Blocks blocks) {
  std::array<Place, num> places;
  for_each_word<Word>(blocks, [&](size_t i, Word word) { places[i % num].add(word, Word(-1)); });
  return places;
}

template <size_t num>
bool is_wide(const std::array<Place, num>& places, size_t low) {
  for (size_t i = 0; i < num; ++i)
    if (i != low && !places[i].is_upper_half()) return false;
  return places[low].varies();
}

template <class Word>
Word swapped(Word word) {
  if constexpr (sizeof(Word) == 2)
    return __builtin_bswap16(word);
  else
    return __builtin_bswap32(word);
}

// Many are no tokens, and all would be in the other byte order.
template <class Word>
bool is_swapped(Blocks blocks, int64_t vocab) {
  int64_t n = 0, above = 0, above_swapped = 0;
  for_each_word<Word>(blocks, [&](size_t, Word word) {
    ++n;
    above += int64_t(word) >= vocab;
    above_swapped += int64_t(swapped(word)) >= vocab;
  });
  return n >= kFewest && above * 10 >= n && above_swapped == 0;
}

// No byte is above 127, in the upper halves either, which vary as the lower ones do.
bool is_narrow(Blocks blocks) {
  const std::array<Place, 2> places = places_of<uint8_t, 2>(blocks);
  bool is_low = true;
  for_each_word<uint8_t>(blocks, [&](size_t, uint8_t byte) { is_low = is_low && byte < 0x80; });
  return is_low && places[0].varies() && places[1].varies();
}

// Text by its letters, which are many, or, where they are few (ids that were written as numbers, the four of a genome),
// by what only text has: digits with separators, or ASCII in lines.
OtherKind find_text(Blocks blocks) {
  constexpr std::string_view kDigits = "0123456789", kSeparators = " \t\r\n,;.-[]()";
  if (!std::ranges::all_of(blocks, is_text)) return {};
  int64_t n = 0;
  std::set<char> letters;
  for_each_word<char>(blocks, [&](size_t, char c) { ++n, letters.insert(c); });
  const size_t num_words = n < kFewest ? 0 : places_of<uint16_t, 1>(blocks)[0].distinct.size();
  const auto num_in = [&](std::string_view set) {
    return std::ranges::count_if(letters, [&](char c) { return set.find(c) != set.npos; });
  };
  const auto num_digits = num_in(kDigits), num_separators = num_in(kSeparators);
  const bool is_numbers = num_digits >= 2 && num_separators >= 1 && num_digits + num_separators == std::ssize(letters);
  if (is_numbers && num_words >= kFewestOfNumbers) return kNumbers;
  const bool is_ascii = std::ranges::all_of(letters, [](char c) { return uint8_t(c) < 0x80; });
  const bool is_in_lines = is_ascii && letters.contains('\n') && num_words >= kFewestOfLines;
  return letters.size() >= kFewestDistinct || is_in_lines ? kText : OtherKind();
}

OtherKind other_than_two(Blocks blocks, int64_t vocab) {
  const std::array<Place, 4> fours = places_of<uint16_t, 4>(blocks);
  if (is_wide(fours, 0)) return kEight;
  if (is_wide(fours, 3)) return kSwappedEight;
  const std::array<Place, 2> twos = places_of<uint16_t, 2>(blocks);
  if (is_wide(twos, 0)) return kFour;
  if (is_wide(twos, 1)) return kSwappedFour;
  if (is_narrow(blocks)) return kOne;
  return is_swapped<uint16_t>(blocks, vocab) ? kSwapped : OtherKind();
}

OtherKind other_than_four(Blocks blocks, int64_t vocab) {
  const std::array<Place, 2> twos = places_of<uint32_t, 2>(blocks);
  if (is_wide(twos, 0)) return kEight;
  if (is_swapped<uint32_t>(blocks, vocab)) return is_wide(twos, 1) ? kSwappedEight : kSwapped;
  int64_t n = 0, above = 0;
  for_each_word<uint32_t>(blocks, [&](size_t, uint32_t word) { ++n, above += int64_t(word) >= vocab; });
  return n >= kFewest && above * 2 > n ? kTwo : OtherKind();
}

}  // namespace

OtherKind find_other_kind(Blocks blocks, int64_t token_bytes, int64_t vocab) {
  if (const OtherKind text = find_text(blocks); !text.what.empty()) return text;
  return token_bytes == 2 ? other_than_two(blocks, vocab) : other_than_four(blocks, vocab);
}

}  // namespace ddp
