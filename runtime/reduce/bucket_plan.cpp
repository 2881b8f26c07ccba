#include "runtime/reduce/bucket_plan.h"

namespace ddp {

std::vector<Bucket> plan_buckets(const ParamLayout& layout, int64_t bucket_elements) {
  const std::vector<Param>& params = layout.params();
  std::vector<Bucket> buckets;
  for (size_t i = 0; i < params.size(); ++i) {
    const Param& p = params[i];
    const int64_t end = i + 1 < params.size() ? params[i + 1].offset : layout.flat_elements();
    if (buckets.empty() || end - buckets.back().begin > bucket_elements)
      buckets.push_back({.begin = p.offset, .first_chunk = p.first_chunk});
    Bucket& bucket = buckets.back();
    ++bucket.num_params;
    bucket.end = end;
    bucket.num_chunks += p.num_chunks;
  }
  return buckets;
}

}  // namespace ddp
