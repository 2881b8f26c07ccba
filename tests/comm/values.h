// Input of the collectives' tests, and the reference order of summation, written as the recursion that the contract
// states.
#pragma once

#include <cstdint>
#include <vector>

#include "tests/support/from_f32.h"

namespace ddp {

// Of the bits.
inline bool operator==(Half a, Half b) { return a.bits == b.bits; }
inline bool operator==(BFloat16 a, BFloat16 b) { return a.bits == b.bits; }

}  // namespace ddp

namespace ddp::test {

// A value whose sums round: reproducible, of either sign, over several binades.
template <class T>
T value_of(int rank, int64_t i) {
  if constexpr (sizeof(T) == 2) {
    return from_f32<T>(value_of<float>(rank, i));
  } else {
    uint64_t h = (uint64_t(rank) + 1) * 0x9E3779B97F4A7C15ull + uint64_t(i) * 0xD1B54A32D192ED03ull;
    h = (h ^ (h >> 29)) * 0xBF58476D1CE4E5B9ull;
    h ^= h >> 32;
    const T fraction = T(int64_t(h >> 11)) / T(int64_t(1) << 53);
    return (fraction - T(0.5)) * T(1 << (h % 7));
  }
}

// The tree over ranks [first, first + count) of value(rank).
template <class Value>
auto reference_tree(int first, int count, const Value& value) -> decltype(value(0)) {
  if (count == 1) return value(first);
  int left = 1;
  while (2 * left < count) left *= 2;
  return reference_tree(first, left, value) + reference_tree(first + left, count - left, value);
}

// What T is added as.
template <class T>
auto widened(T x) {
  if constexpr (sizeof(T) == 2)
    return to_f32(x);
  else
    return x;
}

// The sum over ranks of value(rank), a T, rounded once.
template <class T, class Value>
T reference_sum(int num_ranks, const Value& value) {
  const auto sum = reference_tree(0, num_ranks, [&](int rank) { return widened(value(rank)); });
  if constexpr (sizeof(T) == 2)
    return from_f32<T>(sum);
  else
    return sum;
}

}  // namespace ddp::test
