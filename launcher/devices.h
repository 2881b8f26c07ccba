// Which device each rank gets. The choice is pure (command line and facts of the host in, ranks out); probe_host asks
// the driver's management library, without a CUDA library: that would cost 80 ms and does not survive a fork.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launcher/cli.h"
#include "launcher/nvml.h"
#include "runtime/config/choices.h"

namespace ddp {

struct HostDevices {
  bool cuda_built = false;      // this build has the CUDA backend
  bool nvml = false;            // the driver's management library is there
  bool driver = false;          // an NVIDIA driver is loaded
  bool control_device = false;  // /dev/nvidiactl is there: the kernel has a driver, and this container may use it
  int num_listed = 0;           // GPUs that the driver lists
  bool share_gpu = false;       // DDP_SHARE_GPU=1: ranks may be on the same GPU, for tests
  std::vector<GpuInfo> gpus;    // those that CUDA_VISIBLE_DEVICES leaves, in nvidia-smi's order: what --gpus counts
  // The variables of CUDA and of NVIDIA's container toolkit, where they are set.
  std::optional<std::string> cuda_visible_devices, nvidia_visible_devices;
};
// Nothing, and in no time, for --device cpu. Errors: os_resource (71) when the driver is there and fails.
HostDevices probe_host(const TrainOptions& train);

struct Placement {
  std::string device;                   // cpu | cuda
  std::vector<int> indices;             // one a rank: the GPU; on the CPU the number of the rank
  std::vector<std::string> uuids = {};  // one a rank, of its GPU; empty on the CPU
  std::string note = {};                // a line for the user; mostly empty
  int ranks() const { return int(indices.size()); }
  bool shares_gpu() const;            // there is a GPU of two ranks
  std::string label(int rank) const;  // "GPU 3", "cpu 2"
};

// `auto` is GPUs where there are some, and the CPU where nothing says that there should be. Errors: usage (64), saying
// what to do; also for `auto` where a variable names GPUs, or the driver is there, and none can be used.
Placement place_ranks(const TrainOptions& train, const HostDevices& host);
// That what ranks are placed on computes in `precision` (train.precision). Errors: config (78), naming the GPU.
void check_precision(PrecisionName precision, const Placement& placement, const HostDevices& host);
// For a plan, which touches no device: GPUs that are asked for need not be there.
Placement place_plan(const TrainOptions& train, const HostDevices& host);

}  // namespace ddp
