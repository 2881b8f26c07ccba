#include "runtime/metrics/text.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "runtime/base/clock.h"

namespace ddp {

std::string duration_text(double seconds) {
  if (!(seconds >= 0) || seconds > 1e9) return "?";
  const int64_t s = std::llround(seconds), minutes = s / 60, hours = minutes / 60;
  if (hours >= 24) return fmt::format("{} d {}:{:02}", hours / 24, hours % 24, minutes % 60);
  if (hours > 0) return fmt::format("{}:{:02}:{:02}", hours, minutes % 60, s % 60);
  return fmt::format("{}:{:02}", minutes, s % 60);
}

std::string count_text(double count) {
  constexpr std::array<const char*, 5> kUnits = {"", "k", "M", "G", "T"};
  size_t unit = 0;
  for (; count >= 999.5 && unit + 1 < kUnits.size(); ++unit) count /= 1000;
  const int decimals = unit == 0 || count >= 99.95 ? 0 : count >= 9.995 ? 1 : 2;
  return fmt::format("{:.{}f}{}", count, decimals, kUnits[unit]);
}

std::string time_text(int64_t ms) {
  return fmt::format("{}.{:03}Z", utc_text("%Y-%m-%dT%H:%M:%S", time_t(ms / 1000)), ms % 1000);
}

std::string brief_ms_text(double ms) {
  const double tenths = std::round(ms * 10);
  const bool whole = ms >= 9.95 || std::fmod(tenths, 10) == 0;
  return fmt::format("{:.{}f}", ms, whole ? 0 : 1);
}

std::string bar_text(int64_t done, int64_t total) {
  constexpr int64_t kCells = 10;
  const int64_t filled = total > 0 ? std::clamp<int64_t>(done * kCells / total, 0, kCells) : 0;
  std::string cells(size_t(filled), '=');
  if (filled < kCells) cells += '>';
  cells.resize(kCells, ' ');
  return "[" + cells + "]";
}

std::string non_finite_text(std::string_view tensor, int rank) {
  return rank >= 0 ? fmt::format("{} of rank {} is not finite", tensor, rank)
                   : fmt::format("{} is not finite in the sum over ranks", tensor);
}

}  // namespace ddp
