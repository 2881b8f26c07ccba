#include "runtime/state/finite.h"

#include <bit>
#include <cstdint>

namespace ddp {
namespace {

// By the bits, which order magnitudes as numbers do and put infinities and NaNs last.
bool all_within(const float* x, int64_t n, float largest) {
  constexpr uint32_t kMagnitude = 0x7FFF'FFFF;
  const auto limit = std::bit_cast<uint32_t>(largest);
  uint32_t beyond = 0;
  for (int64_t i = 0; i < n; ++i) beyond |= uint32_t((std::bit_cast<uint32_t>(x[i]) & kMagnitude) > limit);
  return beyond == 0;
}

}  // namespace

std::string first_non_finite(const ParamLayout& layout, const float* flat, float largest) {
  for (const Param& p : layout.params())
    if (!all_within(flat + p.offset, p.numel, largest)) return p.name;
  return {};
}

}  // namespace ddp
