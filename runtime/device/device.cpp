#include "runtime/device/device.h"

#include <utility>

namespace ddp {

Stream::Stream(Stream&& other) noexcept
    : device_(other.device_), role_(other.role_), handle_(std::exchange(other.handle_, nullptr)) {}

Stream::~Stream() {
  if (handle_ != nullptr) device_->destroy_stream(handle_);
}

Event::Event(Event&& other) noexcept : device_(other.device_), handle_(std::exchange(other.handle_, nullptr)) {}

Event::~Event() {
  if (handle_ != nullptr) device_->destroy_event(handle_);
}

}  // namespace ddp
