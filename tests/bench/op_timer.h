// What each op of a step takes, by an event before and after it on the device.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <vector>

#include "kernels/ops.h"

namespace ddp {

class OpTimer final : public OpObserver {
 public:
  explicit OpTimer(Device& device) : device_(device) {}
  // Forgets what it saw; with `is_on` it sees what is enqueued from here on.
  void start(bool is_on);
  void before(const OpInfo& info, Stream& stream) override { record(info, stream); }
  void after(const OpInfo& info, Stream& stream) override { record(info, stream); }

  struct Cost {
    int64_t calls = 0, flops = 0, bytes = 0;
    double ms = 0;
  };
  // By name, of what it saw on the compute stream; all of it is done.
  std::map<std::string, Cost> costs() const;

 private:
  void record(const OpInfo& info, Stream& stream);

  Device& device_;
  bool is_on_ = false;
  std::deque<Event> events_;   // used again at each start
  std::vector<OpInfo> infos_;  // of events_
};

}  // namespace ddp
