// Where batches come from: the seam between the training loop and a kind of data. A source is a pure function from a
// position in the endless sample stream to a sample, so that a resume seeks in O(1) and any thread can prepare any
// batch. Host memory only; the trainer copies to the device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ddp {

// B samples of T tokens on the host; allocated once and filled many times.
struct HostBatch {
  HostBatch(int64_t num_samples, int64_t context)
      : tokens(size_t(num_samples * context)),
        targets(tokens.size()),
        order(tokens.size()),
        sample_ids(size_t(num_samples)) {}

  std::vector<int32_t> tokens, targets;  // (B, T); targets are the tokens shifted by one
  std::vector<int32_t> order;            // (B * T) positions sorted by token, then position; the prefetcher's to fill
  std::vector<int32_t> sample_ids;       // (B) index within the global batch: what dropout is keyed by
  std::vector<std::byte> raw;            // scratch of the source: a sample as in the file
};

class DataSource {
 public:
  virtual ~DataSource() = default;
  // Samples of an epoch.
  virtual int64_t num_samples() const = 0;
  // Fills tokens and targets with the samples at stream positions [first, first + B). Any number of threads may call it
  // at once, each with a batch of its own. Errors: 65 when the data is corrupt, naming file and place; 74 for I/O.
  virtual void fill(HostBatch& batch, uint64_t first) const = 0;
};

}  // namespace ddp
