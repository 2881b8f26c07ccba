// Whole numbers rounded up, for n >= 0 and a positive divisor.
#pragma once

#include <cstdint>

namespace ddp {

constexpr int64_t ceil_div(int64_t n, int64_t divisor) { return (n + divisor - 1) / divisor; }
constexpr int64_t round_up(int64_t n, int64_t multiple) { return ceil_div(n, multiple) * multiple; }

}  // namespace ddp
