// Philox4x32-10: a counter-based generator, so that a random number is a pure function of its coordinates and every
// number of ranks, threads and devices draws the same. Source: Salmon et al., "Parallel random numbers: as easy as 1,
// 2, 3", SC 2011.
#pragma once

#include <cstdint>

namespace ddp {

struct Philox4 {
  uint32_t word[4];
};

inline constexpr uint32_t kPhiloxMul0 = 0xD2511F53u, kPhiloxMul1 = 0xCD9E8D57u;
inline constexpr uint32_t kPhiloxKey0 = 0x9E3779B9u, kPhiloxKey1 = 0xBB67AE85u;

constexpr Philox4 philox(uint32_t k0, uint32_t k1, uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t(kPhiloxMul0) * c0, p1 = uint64_t(kPhiloxMul1) * c2;
    const uint32_t n0 = uint32_t(p1 >> 32) ^ c1 ^ k0, n2 = uint32_t(p0 >> 32) ^ c3 ^ k1;
    c0 = n0, c1 = uint32_t(p1), c2 = n2, c3 = uint32_t(p0);
    k0 += kPhiloxKey0, k1 += kPhiloxKey1;
  }
  return {{c0, c1, c2, c3}};
}

}  // namespace ddp
