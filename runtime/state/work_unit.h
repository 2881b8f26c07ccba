// What people count a model's speed in.
#pragma once

#include <cstdint>
#include <string_view>

namespace ddp {

struct WorkUnit {
  std::string_view abbreviation = "tok", plural = "tokens";
  int64_t per_sample = 1;
};

}  // namespace ddp
