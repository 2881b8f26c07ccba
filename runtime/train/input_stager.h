// Brings micro-batches to the device while the one before is computed on: pinned host memory, two device slots, the
// copy stream, and events both ways. The host waits only for its own staging memory, two micro-batches old.
#pragma once

#include <vector>

#include "runtime/data/data_source.h"
#include "runtime/device/device.h"
#include "runtime/state/model.h"

namespace ddp {

class InputStager {
 public:
  InputStager(Device& device, int64_t batch, int64_t context);

  // Enqueues the copy of `host` and makes `compute` wait for it. The views stay valid until release().
  Batch upload(const HostBatch& host, Stream& compute, const WaitPolicy& wait);
  // The batch of the latest upload is no longer needed by what is enqueued on `compute` after this.
  void release(Stream& compute);

  int64_t bytes() const;  // of device memory

 private:
  static constexpr int kSlots = 2;
  struct Slot {
    explicit Slot(Device& device, int64_t batch, int64_t context);
    HostBuffer<int32_t> staging;  // tokens, targets, order (B * T each), sample ids (B)
    Buffer<int32_t> on_device;    // the same
    Event copied, used;
  };

  int64_t batch_, context_;
  Stream copy_stream_;
  std::vector<Slot> slots_;
  int current_ = 0;
};

}  // namespace ddp
