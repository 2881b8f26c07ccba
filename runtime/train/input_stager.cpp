#include "runtime/train/input_stager.h"

#include <algorithm>

namespace ddp {

InputStager::StagingBuffer::StagingBuffer(Device& device, int64_t bytes)
    : host(device, bytes), on_device(device, bytes), copied(device), taken(device) {}

InputStager::InputStager(Device& device, const BatchLayout& layout)
    : layout_(layout), copy_stream_(device, StreamRole::copy), taken_(device, layout.bytes()) {
  buffers_.reserve(kNumBuffers);
  for (int i = 0; i < kNumBuffers; ++i) buffers_.emplace_back(device, layout.bytes());
}

void InputStager::upload(const HostBatch& host, Stream& compute, const WaitPolicy& wait) {
  const std::span<const std::byte> bytes = host.bytes();
  DDP_CHECK(int64_t(bytes.size()) == layout_.bytes(), "a batch of {} bytes, expected {}", bytes.size(),
            layout_.bytes());
  current_ = (current_ + 1) % kNumBuffers;
  StagingBuffer& buffer = buffers_[size_t(current_)];
  buffer.copied.synchronize(wait);  // of two uploads ago: the staging memory is free again
  std::copy(bytes.begin(), bytes.end(), buffer.host.data());

  copy_stream_.wait(buffer.taken);
  copy_stream_.copy(buffer.on_device.data(), buffer.host.data(), buffer.on_device.bytes());
  buffer.copied.record(copy_stream_);
  compute.wait(buffer.copied);
  compute.copy(taken_.data(), buffer.on_device.data(), taken_.bytes());
  buffer.taken.record(compute);
}

int64_t InputStager::bytes() const {
  int64_t total = taken_.bytes();
  for (const StagingBuffer& buffer : buffers_) total += buffer.on_device.bytes();
  return total;
}

}  // namespace ddp
