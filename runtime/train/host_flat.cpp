#include "runtime/train/host_flat.h"

namespace ddp {

HostFlat::HostFlat(Device& device, const TensorView& on_device, Stream& stream, const WaitPolicy& wait)
    : on_device_(on_device),
      stream_(stream),
      wait_(wait),
      is_device_memory_(device.kind() == DeviceKind::cpu),
      copy_(is_device_memory_ ? 0 : size_t(on_device.numel())) {}

void HostFlat::download() {
  if (!is_device_memory_) stream_.copy(copy_.data(), on_device_.data, on_device_.bytes());
  stream_.synchronize(wait_);
}

void HostFlat::upload() {
  if (!is_device_memory_) stream_.copy(on_device_.data, copy_.data(), on_device_.bytes());
  stream_.synchronize(wait_);
}

}  // namespace ddp
