#include "runtime/device/device.h"

#include <cstdlib>
#include <utility>

namespace ddp {

void* Device::allocate_host(int64_t bytes) {
  void* memory = std::aligned_alloc(64, size_t(bytes / 64 + 1) * 64);
  if (memory == nullptr) throw Error(ExitCode::os_resource, fmt::format("cannot allocate {} bytes of memory", bytes));
  return memory;
}

void Device::deallocate_host(void* memory) noexcept { std::free(memory); }

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
