// The host reads a step's metrics one step late: the device writes every step's into one place, which is then copied to
// one of four entries in host memory. A step also leaves time stamps in the compute stream.
#pragma once

#include <array>
#include <vector>

#include "kernels/ops.h"
#include "runtime/device/device.h"

namespace ddp {

class MetricsRing {
 public:
  explicit MetricsRing(Device& device);

  struct Entry {
    explicit Entry(Device& device);
    HostBuffer<StepMetrics> host;  // one, valid after `end`
    // Recorded on compute: after backward; after the wait for the last all-reduce; after the update and the copy to the
    // host. A step that runs as graphs records only `end`, since an event inside a graph has no time.
    Event backward_done, reduced, end;
    bool has_stamps = false;         // whether this step recorded the first two
    double exposed_comm_ms() const;  // after `end`; NaN without stamps
  };
  Entry& entry(int64_t step) { return entries_[size_t(step) % entries_.size()]; }
  StepMetrics* on_device() const { return on_device_.data(); }
  int64_t bytes() const;  // of device memory
  // Enqueues the copy to the host and the end stamp.
  void publish(int64_t step, Stream& compute);

 private:
  Buffer<StepMetrics> on_device_;  // one
  std::vector<Entry> entries_;
};

}  // namespace ddp
