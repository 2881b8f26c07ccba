#include "runtime/data/sampler.h"

#include <bit>

#include "runtime/base/check.h"
#include "runtime/base/philox.h"

namespace ddp {
namespace {

// Even, so that both halves are mixed alike. 4 suffice for a pseudo-random permutation of large sets (Luby and
// Rackoff); small sets, with halves of a few bits, need more.
constexpr int kRounds = 8;
constexpr uint32_t kDataKey = 0x64617461u;  // "data": separates these draws from those of dropout and weights

// A permutation of [0, 2^num_bits) keyed by (seed, epoch).
uint64_t permute(uint64_t seed, uint64_t epoch, uint64_t x, int num_bits) {
  const int low_bits = num_bits / 2, high_bits = num_bits - low_bits;
  const uint64_t low_mask = (uint64_t{1} << low_bits) - 1, high_mask = (uint64_t{1} << high_bits) - 1;
  uint64_t low = x & low_mask, high = x >> low_bits;
  const auto mix = [&](uint64_t half, int round) {
    return philox(uint32_t(seed), uint32_t(seed >> 32) ^ kDataKey, uint32_t(epoch), uint32_t(epoch >> 32),
                  uint32_t(half), uint32_t(round))
        .word[0];
  };
  for (int round = 0; round < kRounds; round += 2) {
    high ^= mix(low, round) & high_mask;
    low ^= mix(high, round + 1) & low_mask;
  }
  return high << low_bits | low;
}

}  // namespace

int64_t sample_index(uint64_t seed, uint64_t epoch, int64_t position, int64_t num_samples) {
  DDP_CHECK(position >= 0 && position < num_samples, "position {} of {} samples", position, num_samples);
  const int num_bits = std::bit_width(uint64_t(num_samples - 1));
  uint64_t x = uint64_t(position);
  do x = permute(seed, epoch, x, num_bits);
  while (x >= uint64_t(num_samples));
  return int64_t(x);
}

}  // namespace ddp
