// Damage to files and texts of a format, for tests that whatever comes of it is read or refused. It is a function of
// the generator's state, so that a failure repeats.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <span>
#include <string>

#include "runtime/base/number.h"

namespace ddp::test {

struct Damage {
  std::span<const std::string> words = {};  // of the format, which are put in too
  size_t header_bytes = 0;                  // half of the changes begin in the first so many; 0: anywhere
};

// One to six changes: a bit, a byte, a run that is cut out, cleared or copied to another place, the end cut off, a word
// put in or in the place of a byte. `Bytes` is a std::string or a std::vector<std::byte>.
template <class Bytes>
Bytes mutated(Bytes bytes, std::mt19937& random, const Damage& damage = {}) {
  using Byte = typename Bytes::value_type;
  const auto below = [&random](size_t n) { return size_t(random()) % n; };
  const auto iterator = [&bytes](size_t at) { return bytes.begin() + std::ptrdiff_t(std::min(at, bytes.size())); };
  const auto replace = [&](size_t at, size_t length, const auto& by) {
    bytes.erase(iterator(at), iterator(at + length));
    const auto* const begin = reinterpret_cast<const Byte*>(by.data());
    bytes.insert(iterator(at), begin, begin + by.size());
  };
  for (size_t n = 1 + below(6); n > 0 && !bytes.empty(); --n) {
    const bool in_header = damage.header_bytes > 0 && below(2) == 0;
    const size_t at = below(in_header ? std::min(bytes.size(), damage.header_bytes) : bytes.size());
    const size_t length = 1 + below(40), kind = below(damage.words.empty() ? 12 : 18);
    if (kind < 4) {
      bytes[at] = Byte(uint8_t(bytes[at]) ^ 1u << below(8));
    } else if (kind < 7) {
      bytes[at] = Byte(random() & 0xFF);
    } else if (kind == 7) {
      std::fill(iterator(at), iterator(at + length), Byte(below(2) == 0 ? 0x00 : 0xFF));
    } else if (kind == 8) {
      replace(at, length, Bytes());
    } else if (kind < 11) {
      const size_t from = kind == 9 ? at : below(bytes.size());
      replace(at, 0, Bytes(iterator(from), iterator(from + length)));
    } else if (kind == 11) {
      bytes.erase(iterator(at), bytes.end());
    } else {
      replace(at, below(2), damage.words[below(damage.words.size())]);
    }
  }
  return bytes;
}

// How many mutated files a test tries: DDP_FUZZ, or a few hundred.
inline int num_mutations() {
  const char* const asked = std::getenv("DDP_FUZZ");
  return asked == nullptr ? 300 : parse_number<int>(asked).value();
}

}  // namespace ddp::test
