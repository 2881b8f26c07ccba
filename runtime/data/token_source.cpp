#include "runtime/data/token_source.h"

#include <utility>

#include "runtime/base/check.h"
#include "runtime/data/sampler.h"

namespace ddp {

TokenSource::TokenSource(TokenFile file, std::optional<uint64_t> shuffle_seed)
    : file_(std::move(file)), shuffle_seed_(shuffle_seed) {}

void TokenSource::fill(HostBatch& batch, uint64_t first) const {
  const size_t context = size_t(file_.context()), n = batch.sample_ids.size();
  DDP_CHECK(batch.tokens.size() == n * context, "a batch of {} tokens for {} samples of {}", batch.tokens.size(), n,
            context);
  for (size_t i = 0; i < n; ++i) {
    const uint64_t position = first + i;
    const int64_t sample = shuffle_seed_ ? stream_sample(*shuffle_seed_, position, num_samples())
                                         : int64_t(position % uint64_t(num_samples()));
    file_.read_sample(sample, &batch.tokens[i * context], &batch.targets[i * context], batch.raw);
  }
}

}  // namespace ddp
