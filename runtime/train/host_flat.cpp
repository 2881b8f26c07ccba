#include "runtime/train/host_flat.h"

namespace ddp {

HostFlat::HostFlat(Device& device, const TensorView& on_device, Stream& stream, const WaitPolicy& wait)
    : device_(device),
      on_device_(on_device),
      stream_(stream),
      wait_(wait),
      is_device_memory_(device.kind() == DeviceKind::cpu),
      copy_(is_device_memory_ ? 0 : size_t(on_device.numel())) {}

void HostFlat::download() {
  if (!is_device_memory_) device_.copy(copy_.data(), on_device_.data, on_device_.bytes(), stream_.handle());
  finish();
}

void HostFlat::upload() {
  if (!is_device_memory_) device_.copy(on_device_.data, copy_.data(), on_device_.bytes(), stream_.handle());
  finish();
}

void HostFlat::finish() {
  Event done(device_);
  done.record(stream_);
  done.synchronize(wait_);
}

}  // namespace ddp
