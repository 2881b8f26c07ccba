#include "runtime/train/metrics_ring.h"

#include <cmath>

namespace ddp {
namespace {

constexpr int kSlots = 4;

}  // namespace

MetricsRing::Slot::Slot(Device& device) : host(device, 1), backward_done(device), reduced(device), end(device) {}

double MetricsRing::Slot::exposed_comm_ms() const { return has_stamps ? reduced.ms_since(backward_done) : NAN; }

MetricsRing::MetricsRing(Device& device) : on_device_(device, 1) {
  slots_.reserve(kSlots);
  for (int i = 0; i < kSlots; ++i) slots_.emplace_back(device);
}

int64_t MetricsRing::bytes() const { return on_device_.bytes(); }

void MetricsRing::publish(int64_t step, Stream& compute) {
  Slot& s = slot(step);
  compute.device().copy(s.host.data(), on_device_.data(), s.host.bytes(), compute.handle());
  s.end.record(compute);
}

}  // namespace ddp
