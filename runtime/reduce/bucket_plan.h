// How the flat gradient buffer is cut for the all-reduce. Pure: parameters lie in backward order, so a bucket is a
// contiguous slice, complete when the last of its parameters is, and every rank computes the same plan from the layout
// alone.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/state/param_layout.h"

namespace ddp {

struct Bucket {
  int num_params = 0;
  int64_t begin = 0, end = 0;  // elements of the flat buffer, padding included
  int64_t first_chunk = 0, num_chunks = 0;
};

// Buckets in index order, of at most bucket_elements each; a larger parameter is a bucket of its own.
// Together they cover the flat buffer exactly.
std::vector<Bucket> plan_buckets(const ParamLayout& layout, int64_t bucket_elements);

}  // namespace ddp
