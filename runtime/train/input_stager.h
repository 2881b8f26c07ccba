// Brings micro-batches to the device while the one before is computed on. A batch goes from the caller's memory into
// one of two staging buffers (pinned host memory), from there on the copy stream into the buffer's device memory, and
// then on compute, a small copy, into the one place that forward and backward read: they have the same arguments in
// every step, as a CUDA graph demands. The host waits only for the staging buffer of two micro-batches ago.
#pragma once

#include <vector>

#include "runtime/device/device.h"
#include "runtime/state/batch.h"

namespace ddp {

class InputStager {
 public:
  // `layout`, of a micro-batch, outlives this.
  InputStager(Device& device, const BatchLayout& layout);

  // Enqueues the copy of `host`: for what follows on `compute`, it is batch(). `host` is read before this returns.
  void upload(const HostBatch& host, Stream& compute, const WaitPolicy& wait);
  Batch batch() const { return {layout_, taken_.data()}; }

  int64_t bytes() const;  // of device memory

 private:
  static constexpr int kNumBuffers = 2;
  struct StagingBuffer {
    StagingBuffer(Device& device, int64_t bytes);
    HostBuffer<std::byte> host;
    Buffer<std::byte> on_device;
    Event copied, taken;
  };

  const BatchLayout& layout_;
  Stream copy_stream_;
  std::vector<StagingBuffer> buffers_;
  Buffer<std::byte> taken_;
  int current_ = 0;
};

}  // namespace ddp
