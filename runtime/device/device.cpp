#include "runtime/device/device.h"

#include <errno.h>

#include <cstdlib>
#include <utility>

#include "runtime/base/bytes_text.h"
#include "runtime/base/system_limits.h"

namespace ddp {

void* Device::allocate_host(int64_t bytes) {
  void* memory = std::aligned_alloc(64, size_t(bytes / 64 + 1) * 64);
  if (memory == nullptr) throw os_error(fmt::format("cannot allocate a buffer of {}", bytes_text(bytes)), ENOMEM);
  return memory;
}

void Device::deallocate_host(void* memory) noexcept { std::free(memory); }

// Of a device that says it has graphs.
void Device::begin_capture(void*) { DDP_CHECK(false, "this device has no graphs"); }
void* Device::end_capture(void*) { DDP_CHECK(false, "this device has no graphs"); }
void Device::launch_graph(void*, void*) { DDP_CHECK(false, "this device has no graphs"); }
void Device::destroy_graph(void*) noexcept {}

Stream::Stream(Stream&& other) noexcept
    : device_(other.device_), role_(other.role_), handle_(std::exchange(other.handle_, nullptr)) {}

Stream::~Stream() {
  if (handle_ != nullptr) device_->destroy_stream(handle_);
}

void Stream::synchronize(const WaitPolicy& policy) {
  Event done(*device_);
  done.record(*this);
  done.synchronize(policy);
}

Event::Event(Event&& other) noexcept : device_(other.device_), handle_(std::exchange(other.handle_, nullptr)) {}

Event::~Event() {
  if (handle_ != nullptr) device_->destroy_event(handle_);
}

Graph::Graph(Stream& stream, const std::function<void()>& enqueue) : device_(&stream.device()) {
  device_->begin_capture(stream.handle_);
  try {
    enqueue();
  } catch (...) {
    try {  // an error of the end is a consequence of this one
      device_->destroy_graph(device_->end_capture(stream.handle_));
    } catch (const Error&) {}
    throw;
  }
  handle_ = device_->end_capture(stream.handle_);
}

Graph::Graph(Graph&& other) noexcept : device_(other.device_), handle_(std::exchange(other.handle_, nullptr)) {}

Graph::~Graph() {
  if (handle_ != nullptr) device_->destroy_graph(handle_);
}

}  // namespace ddp
