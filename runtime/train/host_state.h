// Parameters and optimizer state as the host sees them, for checkpoints and initial values.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "runtime/checkpoint/checkpoint.h"
#include "runtime/optim/optimizer.h"
#include "runtime/train/host_flat.h"

namespace ddp {

class HostState {
 public:
  // Parameters on_device and optimizer outlive this. Nothing may be enqueued that writes them until the work done here
  // is over.
  HostState(Device& device, const TensorView& params, const Optimizer& optimizer, Stream& stream,
            const WaitPolicy& wait);

  HostFlat& params() { return params_; }
  // The optimizer's flat states, in its order.
  const std::vector<NamedFlat>& states() const { return states_; }
  void download();          // params and states; blocks
  void upload_optimizer();  // states; blocks
  // The optimizer's scalars by name, from and to the device; blocks. Errors: 65 where `scalars` lacks one; `source`
  // stands for where they are from.
  std::map<std::string, double> download_scalars();
  void upload_scalars(const std::map<std::string, double>& scalars, const std::string& source);

 private:
  const Optimizer& optimizer_;
  Stream& stream_;
  WaitPolicy wait_;
  HostFlat params_;
  std::vector<HostFlat> flats_;
  std::vector<NamedFlat> states_;
};

}  // namespace ddp
