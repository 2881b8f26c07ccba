// Which device each rank gets. The choice is pure (command line and facts of the host in, ranks out); probe_host reads
// the facts from /proc and /sys without a CUDA library, which would cost 80 ms and does not survive a fork.
#pragma once

#include <string>
#include <vector>

#include "launcher/cli.h"

namespace ddp {

struct HostDevices {
  bool cuda_built = false;  // this build has the CUDA backend
  bool driver = false;      // an NVIDIA driver is loaded
  int num_gpus = 0;
};
HostDevices probe_host();

struct Placement {
  std::string device;        // cpu | cuda
  std::vector<int> indices;  // one a rank: the GPU, or the slot
  int ranks() const { return int(indices.size()); }
  std::string label(int rank) const;  // "GPU 3", "cpu 2"
};

// Errors: 64, saying what to do.
Placement place_ranks(const TrainOptions& train, const HostDevices& host);

}  // namespace ddp
