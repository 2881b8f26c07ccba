#include "runtime/data/masking.h"

#include <algorithm>

#include "runtime/base/check.h"
#include "runtime/base/philox.h"

namespace ddp {
namespace {

constexpr uint32_t kMaskKey = 0x6d61736bu;  // "mask": separates these draws from those of the order, dropout, weights
constexpr int64_t kMaskedPercent = 15;
constexpr int64_t kTenthsMasked = 8, kTenthsRandom = 1;  // of the chosen; the others stay

int64_t below(uint32_t word, int64_t n) { return int64_t(uint64_t(word) * uint64_t(n) >> 32); }

}  // namespace

int64_t num_masked(int64_t num_tokens) { return std::max<int64_t>(1, (kMaskedPercent * num_tokens + 50) / 100); }

void mask_tokens(const MaskRule& rule, uint64_t seed, const Draw& draw, std::span<int32_t> tokens,
                 std::span<int32_t> positions, std::span<int32_t> targets) {
  DDP_CHECK(positions.size() == targets.size(), "{} positions, {} targets", positions.size(), targets.size());
  const auto is_special = [&rule](int32_t token) { return std::ranges::count(rule.special, token) > 0; };
  int64_t candidates = int64_t(tokens.size()) - std::ranges::count_if(tokens, is_special);
  const int64_t n = std::min({int64_t(positions.size()), candidates, num_masked(int64_t(tokens.size()))});
  // Selection sampling (Knuth, TAOCP 2, 3.4.2, algorithm S): each candidate with the probability that as many are still
  // wanted of as many as are left.
  size_t chosen = 0;
  for (size_t t = 0; int64_t(chosen) < n; ++t) {
    if (is_special(tokens[t])) continue;
    const Philox4 r = philox(uint32_t(seed), uint32_t(seed >> 32) ^ kMaskKey, uint32_t(draw.sample),
                             uint32_t(uint64_t(draw.sample) >> 32), uint32_t(draw.epoch), uint32_t(t));
    if (below(r.word[0], candidates--) >= n - int64_t(chosen)) continue;
    positions[chosen] = int32_t(t);
    targets[chosen] = tokens[t];
    ++chosen;
    const int64_t tenth = below(r.word[1], 10);
    if (tenth < kTenthsMasked)
      tokens[t] = rule.mask;
    else if (tenth < kTenthsMasked + kTenthsRandom)
      tokens[t] = int32_t(below(r.word[2], rule.vocab));
  }
  std::ranges::fill(positions.subspan(chosen), -1);
  std::ranges::fill(targets.subspan(chosen), -1);
}

}  // namespace ddp
