#include "runtime/train/metrics_ring.h"

namespace ddp {
namespace {

constexpr int kSlots = 4;

}  // namespace

MetricsRing::Slot::Slot(Device& device)
    : on_device(device, sizeof(StepMetrics)), begin(device), backward_done(device), reduced(device), end(device) {}

MetricsRing::MetricsRing(Device& device) {
  slots_.reserve(kSlots);
  for (int i = 0; i < kSlots; ++i) slots_.emplace_back(device);
}

int64_t MetricsRing::bytes() const { return int64_t(slots_.size() * sizeof(StepMetrics)); }

void MetricsRing::publish(int64_t step, Stream& compute) {
  Slot& s = slot(step);
  compute.device().copy(&s.host, s.on_device.data(), sizeof(StepMetrics), compute.handle());
  s.end.record(compute);
}

}  // namespace ddp
