// The host reads a step's metrics one step late: each step writes into one of four slots, on the device and then in
// host memory, and leaves time stamps in the compute stream.
#pragma once

#include <array>
#include <vector>

#include "kernels/ops.h"
#include "runtime/device/device.h"

namespace ddp {

class MetricsRing {
 public:
  explicit MetricsRing(Device& device);

  struct Slot {
    explicit Slot(Device& device);
    HostBuffer<StepMetrics> host;   // one, valid after `end`
    Buffer<StepMetrics> on_device;  // one
    // In the compute stream: step begins, backward is done, the last all-reduce is waited for, the update and the copy
    // are done.
    Event begin, backward_done, reduced, end;
  };
  Slot& slot(int64_t step) { return slots_[size_t(step) % slots_.size()]; }
  int64_t bytes() const;  // of device memory
  // Enqueues the copy to the host and the end stamp.
  void publish(int64_t step, Stream& compute);

 private:
  std::vector<Slot> slots_;
};

}  // namespace ddp
