// Numbers as people read them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "runtime/base/bytes_text.h"

namespace ddp {

std::string duration_text(double seconds);          // "0:37", "1:02:07", "3 d 4:05"
std::string count_text(double count);               // "512", "3.61k", "43.5k", "1.20M"
std::string time_text(int64_t ms);                  // "2026-11-27T21:30:00.123Z" of a time_of_day_ms()
std::string brief_ms_text(double ms);               // "4.1", "3", "180": without unit
std::string bar_text(int64_t done, int64_t total);  // "[====>     ]"

// "h.1.mlp.c_fc.weight of rank 2 is not finite"; rank -1: "... is not finite in the sum over ranks".
std::string non_finite_text(std::string_view tensor, int rank);

}  // namespace ddp
