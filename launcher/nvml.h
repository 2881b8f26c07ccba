// The GPUs of this host as the driver's management library lists them, in nvidia-smi's order. The library comes with
// the driver and is opened at run time; it makes no CUDA context, so that the launcher may still fork.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ddp {

struct GpuInfo {
  int index = 0;     // nvidia-smi's
  std::string uuid;  // "GPU-8c1b...": what CUDA_VISIBLE_DEVICES takes
  std::string name;
  int capability_major = 0, capability_minor = 0;
};

struct DriverInfo {
  bool has_library = false;  // $DDP_NVML where set, else libnvidia-ml.so.1
  bool is_loaded = false;
  std::vector<GpuInfo> gpus;
};
// Errors: os_resource (71) when the driver fails.
DriverInfo ask_driver();

// Those of `all` that CUDA_VISIBLE_DEVICES names (indices or beginnings of UUIDs), in the order of `all`. `visible`
// is the variable's value; a name that is no GPU's ends the list, as for CUDA.
std::vector<GpuInfo> visible_gpus(const std::vector<GpuInfo>& all, std::string_view visible);

}  // namespace ddp
