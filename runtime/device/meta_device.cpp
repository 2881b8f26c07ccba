// The dry run's device: it hands out addresses that nobody may touch, counts bytes, and runs nothing.
#include "runtime/device/device.h"

namespace ddp {
namespace {

class MetaDevice final : public Device {
 public:
  DeviceKind kind() const override { return DeviceKind::meta; }
  std::string name() const override { return "meta"; }
  void* allocate(int64_t bytes) override {
    num_allocations_.fetch_add(1, std::memory_order_relaxed);
    in_use_ += bytes;
    const uintptr_t address = next_address_;
    next_address_ += (uintptr_t(bytes) + 255) / 256 * 256;
    return reinterpret_cast<void*>(address);
  }
  void deallocate(void*, int64_t bytes) noexcept override { in_use_ -= bytes; }
  void* create_stream(StreamRole) override { return this; }
  void destroy_stream(void*) noexcept override {}
  void* create_event() override { return this; }
  void destroy_event(void*) noexcept override {}
  void record(void*, void*) override {}
  void wait(void*, void*) override {}
  bool query(void*) override { return true; }
  void synchronize(void*, const WaitPolicy&) override {}
  double elapsed_ms(void*, void*) override { return 0; }
  void copy(void*, const void*, int64_t, void*) override {}
  void fill_zero(void*, int64_t, void*) override {}
  MemoryInfo memory_info() const override { return {.in_use_bytes = in_use_, .taken_bytes = in_use_}; }

 private:
  uintptr_t next_address_ = uintptr_t(1) << 56;  // not canonical on x86-64 and Arm: touching it is a fault at once
  int64_t in_use_ = 0;
};

}  // namespace

std::unique_ptr<Device> make_meta_device() { return std::make_unique<MetaDevice>(); }

}  // namespace ddp
