// Parameters without their padding.
#pragma once

#include <vector>

#include "runtime/state/param_layout.h"

namespace ddp::test {

// Where the elements of a parameter that are no padding stand in a flat buffer.
inline std::vector<size_t> live_elements(const Param& p) {
  std::vector<size_t> elements;
  for (int64_t i = 0; i < p.numel; ++i) {
    bool is_live = true;
    int64_t rest = i;
    for (int d = p.shape.rank; d-- > 0; rest /= p.shape[d]) is_live = is_live && rest % p.shape[d] < p.live[d];
    if (is_live) elements.push_back(size_t(p.offset + i));
  }
  return elements;
}

}  // namespace ddp::test
