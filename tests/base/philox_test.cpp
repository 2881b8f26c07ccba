// The scalar generator, which is the reference of all others, against the vectors that its authors publish: kat_vectors
// of Random123, philox4x32-10.
#include "runtime/base/philox.h"

#include <catch2/catch.hpp>

#include <array>

namespace ddp {
namespace {

using Words = std::array<uint32_t, 4>;

Words words(const Words& counter, const std::array<uint32_t, 2>& key) {
  const Philox4 r = philox(key[0], key[1], counter[0], counter[1], counter[2], counter[3]);
  return {r.word[0], r.word[1], r.word[2], r.word[3]};
}

TEST_CASE("Philox gives the published words") {
  CHECK(words({}, {}) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  constexpr uint32_t kAll = 0xffffffff;
  CHECK(words({kAll, kAll, kAll, kAll}, {kAll, kAll}) == Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(words({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

}  // namespace
}  // namespace ddp
