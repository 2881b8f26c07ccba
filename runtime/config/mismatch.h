// Errors for values that do not fit each other: each lists values that would work.
#pragma once

#include <cstdint>
#include <string>

#include "runtime/base/error.h"

namespace ddp {

Error mismatch(const std::string& what, const std::string& hint);  // config (78)

// Up to six divisors of n, those nearest to `wanted`, in ascending order, as "4, 8, 16".
std::string divisors_near(int64_t n, int64_t wanted);

// The multiples of `unit` on both sides of n, as "56 or 64".
std::string multiples_near(int64_t unit, int64_t n);

}  // namespace ddp
