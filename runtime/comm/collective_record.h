// What a rank says about a collective before it takes part: the peers compare it with their own, so that ranks that
// disagree stop with a message that names both operations instead of adding one tensor to another. The records stay in
// the segment after use: a rank's ring is the trace of its last collectives.
#pragma once

#include <cstdint>
#include <string>

#include "runtime/device/dtype.h"

namespace ddp {

enum class Collective : uint32_t { none, all_reduce, broadcast, reduce_scatter, all_gather, barrier };
const char* collective_name(Collective op);

struct CollectiveRecord {
  uint64_t number;  // of the rank's collectives, from 1
  Collective op;
  DType dtype;
  bool staged;     // not in symmetric memory: copied through the staging area
  int32_t root;    // of a broadcast, else -1
  int64_t bytes;   // of the input
  int64_t offset;  // of the input from the start of its symmetric (or staging) area; may differ between ranks

  // Whether two ranks' records are of one collective.
  bool matches(const CollectiveRecord& other) const;
  std::string text() const;  // "all_reduce #12 of 1024 bytes f32"
};

}  // namespace ddp
