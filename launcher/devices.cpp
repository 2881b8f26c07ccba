#include "launcher/devices.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <numeric>

#include "runtime/base/error.h"

namespace ddp {

HostDevices probe_host() {
  HostDevices host;
  host.cuda_built = DDP_CUDA != 0;
  std::error_code ignored;
  host.driver = std::filesystem::exists("/proc/driver/nvidia/version", ignored);
  for (auto it = std::filesystem::directory_iterator("/proc/driver/nvidia/gpus", ignored);
       it != std::filesystem::directory_iterator(); ++it)
    ++host.num_gpus;
  return host;
}

std::string Placement::label(int rank) const {
  return fmt::format("{} {}", device == "cuda" ? "GPU" : "cpu", indices[size_t(rank)]);
}

Placement place_ranks(const TrainOptions& train, const HostDevices& host) {
  const bool wants_cuda = train.device == "cuda" || !train.gpus.empty();
  const int wanted = train.gpus.empty() ? std::max(1, train.nproc) : int(train.gpus.size());
  const std::string on_cpu = fmt::format("train on the CPU: --nproc {} --device cpu", wanted);
  const std::string asked = train.gpus.empty() ? "--device cuda" : "--gpus";
  if (wants_cuda && !host.driver)
    throw Error(ExitCode::usage, asked + ": this machine has no NVIDIA driver", "install one, or " + on_cpu);
  if (wants_cuda && !host.cuda_built)
    throw Error(ExitCode::usage, asked + ": this build has no CUDA backend", "build with -Dcuda=enabled, or " + on_cpu);
  for (const int gpu : train.gpus)
    if (gpu >= host.num_gpus)
      throw Error(ExitCode::usage, fmt::format("--gpus names GPU {}, but this machine has {}", gpu, host.num_gpus),
                  "nvidia-smi -L lists them");
  const bool cuda = wants_cuda || (train.device == "auto" && host.cuda_built && host.num_gpus > 0);
  if (cuda && train.gpus.empty() && wanted > host.num_gpus)
    throw Error(ExitCode::usage,
                fmt::format("--nproc {} needs as many GPUs, but this machine has {}", wanted, host.num_gpus), on_cpu);
  Placement placement{cuda ? "cuda" : "cpu", train.gpus};
  if (train.gpus.empty()) {
    placement.indices.resize(size_t(wanted));
    std::iota(placement.indices.begin(), placement.indices.end(), 0);
  }
  return placement;
}

}  // namespace ddp
