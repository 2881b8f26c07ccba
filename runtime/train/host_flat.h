// A flat device buffer as the host sees it, for checkpoints and initial values: the memory itself on the CPU, a copy
// elsewhere.
#pragma once

#include <span>
#include <vector>

#include "runtime/device/device.h"

namespace ddp {

class HostFlat {
 public:
  // `on_device` (n) f32 outlives this. Nothing may be enqueued that writes it until the work done here is over.
  HostFlat(Device& device, const TensorView& on_device, Stream& stream, const WaitPolicy& wait);

  float* data() { return is_device_memory_ ? on_device_.as<float>() : copy_.data(); }
  std::span<float> values() { return {data(), size_t(on_device_.numel())}; }
  void download();  // device to host; blocks
  void upload();    // host to device; blocks

 private:
  TensorView on_device_;
  Stream& stream_;
  WaitPolicy wait_;
  bool is_device_memory_;
  std::vector<float> copy_;
};

}  // namespace ddp
