#include "models/layers/token_order.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace ddp {
namespace {

void sort_positions(const HostBatch& batch, std::byte* out) {
  const std::span<const int32_t> tokens = batch.values<int32_t>("tokens");
  const std::span<int32_t> order(reinterpret_cast<int32_t*>(out), tokens.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](int32_t a, int32_t b) { return std::pair(tokens[size_t(a)], a) < std::pair(tokens[size_t(b)], b); });
}

}  // namespace

Input token_order(int64_t context) {
  return {.name = "order", .dtype = DType::i32, .sample = {context}, .derive = sort_positions};
}

}  // namespace ddp
