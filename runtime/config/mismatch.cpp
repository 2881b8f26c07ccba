#include "runtime/config/mismatch.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace ddp {

Error mismatch(const std::string& what, const std::string& hint) { return Error(ExitCode::config, what, hint); }

std::string divisors_near(int64_t n, int64_t wanted) {
  constexpr size_t kShown = 6;
  std::vector<int64_t> divisors;
  for (int64_t d = 1; d <= n; ++d)
    if (n % d == 0) divisors.push_back(d);
  const auto distance = [wanted](int64_t d) { return std::max(d, wanted) - std::min(d, wanted); };
  std::stable_sort(divisors.begin(), divisors.end(), [&](int64_t a, int64_t b) { return distance(a) < distance(b); });
  divisors.resize(std::min(divisors.size(), kShown));
  std::sort(divisors.begin(), divisors.end());
  return fmt::format("{}", fmt::join(divisors, ", "));
}

std::string multiples_near(int64_t unit, int64_t n) {
  const int64_t below = n / unit * unit;
  return below == 0 ? fmt::format("{}", unit) : fmt::format("{} or {}", below, below + unit);
}

}  // namespace ddp
