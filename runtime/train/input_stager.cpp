#include "runtime/train/input_stager.h"

#include <algorithm>

namespace ddp {

InputStager::StagingBuffer::StagingBuffer(Device& device, int64_t batch, int64_t context)
    : host(device, batch * (3 * context + 1)),
      on_device(device, batch * (3 * context + 1)),
      copied(device),
      taken(device) {}

InputStager::InputStager(Device& device, int64_t batch, int64_t context)
    : batch_(batch),
      context_(context),
      copy_stream_(device, StreamRole::copy),
      taken_(device, batch * (3 * context + 1)) {
  buffers_.reserve(kNumBuffers);
  for (int i = 0; i < kNumBuffers; ++i) buffers_.emplace_back(device, batch, context);
}

void InputStager::upload(const HostBatch& host, Stream& compute, const WaitPolicy& wait) {
  const int64_t n = batch_ * context_;
  DDP_CHECK(int64_t(host.tokens.size()) == n && int64_t(host.targets.size()) == n && int64_t(host.order.size()) == n &&
                int64_t(host.sample_ids.size()) == batch_,
            "a batch of {} tokens, expected {}", host.tokens.size(), n);
  current_ = (current_ + 1) % kNumBuffers;
  StagingBuffer& buffer = buffers_[size_t(current_)];
  buffer.copied.synchronize(wait);  // of two uploads ago: the staging memory is free again
  auto at = std::copy(host.tokens.begin(), host.tokens.end(), buffer.host.data());
  at = std::copy(host.targets.begin(), host.targets.end(), at);
  at = std::copy(host.order.begin(), host.order.end(), at);
  std::copy(host.sample_ids.begin(), host.sample_ids.end(), at);

  copy_stream_.wait(buffer.taken);
  copy_stream_.copy(buffer.on_device.data(), buffer.host.data(), buffer.on_device.bytes());
  buffer.copied.record(copy_stream_);
  compute.wait(buffer.copied);
  compute.copy(taken_.data(), buffer.on_device.data(), taken_.bytes());
  buffer.taken.record(compute);
}

Batch InputStager::batch() const {
  const int64_t n = batch_ * context_;
  const TensorView all = taken_.view();
  return {.tokens = all.slice(0, n).view({batch_, context_}),
          .targets = all.slice(n, n).view({batch_, context_}),
          .order = all.slice(2 * n, n),
          .sample_ids = all.slice(3 * n, batch_)};
}

int64_t InputStager::bytes() const {
  int64_t total = taken_.bytes();
  for (const StagingBuffer& buffer : buffers_) total += buffer.on_device.bytes();
  return total;
}

}  // namespace ddp
