// Brings micro-batches to the device while the one before is computed on: pinned host memory, two staging buffers, the
// copy stream, and events both ways. Compute takes it into one place, a small copy, so that forward and backward
// have the same arguments in every step: a graph bakes them in. The host waits only for its own staging memory, two
// micro-batches old.
#pragma once

#include <vector>

#include "runtime/data/data_source.h"
#include "runtime/device/device.h"
#include "runtime/state/model.h"

namespace ddp {

class InputStager {
 public:
  InputStager(Device& device, int64_t batch, int64_t context);

  // Enqueues the copy of `host`: for what follows on `compute`, it is batch(). `host` is read before this returns.
  void upload(const HostBatch& host, Stream& compute, const WaitPolicy& wait);
  Batch batch() const;

  int64_t bytes() const;  // of device memory

 private:
  static constexpr int kNumBuffers = 2;
  struct StagingBuffer {
    explicit StagingBuffer(Device& device, int64_t batch, int64_t context);
    HostBuffer<int32_t> host;   // tokens, targets, order (B * T each), sample ids (B)
    Buffer<int32_t> on_device;  // the same
    Event copied, taken;
  };

  int64_t batch_, context_;
  Stream copy_stream_;
  std::vector<StagingBuffer> buffers_;
  Buffer<int32_t> taken_;  // as a staging buffer, on the device
  int current_ = 0;
};

}  // namespace ddp
