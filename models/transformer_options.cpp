#include "models/transformer_options.h"

#include <fmt/core.h>

#include "runtime/config/mismatch.h"

namespace ddp {

void check_whole_heads(int64_t width, int64_t heads) {
  if (width % heads == 0) return;
  throw mismatch(fmt::format("model.width {} is not a multiple of model.heads {}", width, heads),
                 fmt::format("heads that work: {}; widths that work: {}", divisors_near(width, heads),
                             multiples_near(heads, width)));
}

}  // namespace ddp
