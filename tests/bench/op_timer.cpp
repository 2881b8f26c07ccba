#include "tests/bench/op_timer.h"

namespace ddp {

void OpTimer::start(bool is_on) {
  is_on_ = is_on;
  infos_.clear();
}

void OpTimer::record(const OpInfo& info, Stream& stream) {
  if (!is_on_ || stream.role() != StreamRole::compute) return;
  if (infos_.size() == events_.size()) events_.emplace_back(device_);
  events_[infos_.size()].record(stream);
  infos_.push_back(info);
}

std::map<std::string, OpTimer::Cost> OpTimer::costs() const {
  std::map<std::string, Cost> result;
  for (size_t i = 0; i + 1 < infos_.size(); i += 2) {
    Cost& c = result[infos_[i].name];
    ++c.calls, c.flops += infos_[i].flops, c.bytes += infos_[i].bytes;
    c.ms += events_[i + 1].ms_since(events_[i]);
  }
  return result;
}

}  // namespace ddp
