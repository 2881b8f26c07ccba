#include "runtime/train/input_stager.h"

#include <algorithm>

namespace ddp {

InputStager::Slot::Slot(Device& device, int64_t batch, int64_t context)
    : staging(device, batch * (3 * context + 1)),
      on_device(device, batch * (3 * context + 1)),
      copied(device),
      taken(device) {}

InputStager::InputStager(Device& device, int64_t batch, int64_t context)
    : batch_(batch),
      context_(context),
      copy_stream_(device, StreamRole::copy),
      taken_(device, batch * (3 * context + 1)) {
  slots_.reserve(kSlots);
  for (int i = 0; i < kSlots; ++i) slots_.emplace_back(device, batch, context);
}

void InputStager::upload(const HostBatch& host, Stream& compute, const WaitPolicy& wait) {
  const int64_t n = batch_ * context_;
  DDP_CHECK(int64_t(host.tokens.size()) == n && int64_t(host.targets.size()) == n && int64_t(host.order.size()) == n &&
                int64_t(host.sample_ids.size()) == batch_,
            "a batch of {} tokens, expected {}", host.tokens.size(), n);
  current_ = (current_ + 1) % kSlots;
  Slot& slot = slots_[size_t(current_)];
  slot.copied.synchronize(wait);  // of two uploads ago: the staging memory is free again
  auto at = std::copy(host.tokens.begin(), host.tokens.end(), slot.staging.data());
  at = std::copy(host.targets.begin(), host.targets.end(), at);
  at = std::copy(host.order.begin(), host.order.end(), at);
  std::copy(host.sample_ids.begin(), host.sample_ids.end(), at);

  Device& device = compute.device();
  copy_stream_.wait(slot.taken);
  device.copy(slot.on_device.data(), slot.staging.data(), slot.on_device.bytes(), copy_stream_.handle());
  slot.copied.record(copy_stream_);
  compute.wait(slot.copied);
  device.copy(taken_.data(), slot.on_device.data(), taken_.bytes(), compute.handle());
  slot.taken.record(compute);
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
  for (const Slot& slot : slots_) total += slot.on_device.bytes();
  return total;
}

}  // namespace ddp
