#include "runtime/train/metrics_ring.h"

namespace ddp {
namespace {

constexpr int kSlots = 4;

}  // namespace

MetricsRing::Slot::Slot(Device& device)
    : host(device, 1), on_device(device, 1), begin(device), backward_done(device), reduced(device), end(device) {}

MetricsRing::MetricsRing(Device& device) {
  slots_.reserve(kSlots);
  for (int i = 0; i < kSlots; ++i) slots_.emplace_back(device);
}

int64_t MetricsRing::bytes() const { return int64_t(slots_.size() * sizeof(StepMetrics)); }

void MetricsRing::publish(int64_t step, Stream& compute) {
  Slot& s = slot(step);
  compute.device().copy(s.host.data(), s.on_device.data(), s.host.bytes(), compute.handle());
  s.end.record(compute);
}

}  // namespace ddp
