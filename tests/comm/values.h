// Input of the collectives' tests, and the reference order of summation, written as the recursion that the contract
// states.
#pragma once

#include <cstdint>
#include <vector>

namespace ddp::test {

// A value whose sums round: reproducible, of either sign, over several binades.
template <class T>
T value_of(int rank, int64_t i) {
  uint64_t h = (uint64_t(rank) + 1) * 0x9E3779B97F4A7C15ull + uint64_t(i) * 0xD1B54A32D192ED03ull;
  h = (h ^ (h >> 29)) * 0xBF58476D1CE4E5B9ull;
  h ^= h >> 32;
  const T fraction = T(int64_t(h >> 11)) / T(int64_t(1) << 53);
  return (fraction - T(0.5)) * T(1 << (h % 7));
}

// The tree over ranks [first, first + count) of value(rank).
template <class Value>
auto reference_tree(int first, int count, const Value& value) -> decltype(value(0)) {
  if (count == 1) return value(first);
  int left = 1;
  while (2 * left < count) left *= 2;
  return reference_tree(first, left, value) + reference_tree(first + left, count - left, value);
}

}  // namespace ddp::test
