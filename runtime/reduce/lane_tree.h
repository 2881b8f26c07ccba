// The part of the canonical summation tree that lies within one rank. Its lanes, a power of two, add as an aligned
// pairwise tree ((0+1)+(2+3)) with log2 + 1 buffers, as a binary counter does: the buffers are a stack of finished
// subtrees, one for each bit set in the number of lanes done.
#pragma once

#include <bit>

namespace ddp {

constexpr int num_lane_buffers(int num_lanes) { return std::bit_width(unsigned(num_lanes)); }

// The buffer that a lane accumulates in; buffers below it hold finished subtrees.
constexpr int lane_buffer(int lane) { return std::popcount(unsigned(lane)); }

// Calls add(to, from), "buffer[to] += buffer[from]", for each subtree that the end of the lane completes. After the
// last lane buffer 0 holds the sum.
template <class Add>
constexpr void combine_lanes(int lane, Add add) {
  const int begin = lane_buffer(lane), end = begin - std::countr_one(unsigned(lane));
  for (int buffer = begin; buffer > end; --buffer) add(buffer - 1, buffer);
}

}  // namespace ddp
