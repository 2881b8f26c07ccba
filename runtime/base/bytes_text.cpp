#include "runtime/base/bytes_text.h"

#include <fmt/core.h>

#include <array>

namespace ddp {

std::string bytes_text(int64_t bytes) {
  constexpr std::array<const char*, 5> kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  double count = double(bytes);
  size_t unit = 0;
  for (; count >= 1023.5 && unit + 1 < kUnits.size(); ++unit) count /= 1024;
  return fmt::format("{:.{}f} {}", count, unit > 0 && count < 9.95 ? 1 : 0, kUnits[unit]);
}

}  // namespace ddp
