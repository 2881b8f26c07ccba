#include "launcher/devices.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <utility>

#include "runtime/base/error.h"

namespace ddp {

HostDevices probe_host(const TrainOptions& train) {
  HostDevices host;
  if (train.device == "cpu") return host;  // whatever state the driver is in
  // A simulated backend has a module of its own.
  host.cuda_built = DDP_CUDA != 0 || std::getenv("DDP_CUDA_MODULE") != nullptr;
  const std::optional<std::vector<GpuInfo>> gpus = list_gpus();
  host.driver = gpus.has_value();
  if (!gpus) return host;
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  host.gpus = visible != nullptr ? visible_gpus(*gpus, visible) : *gpus;
  return host;
}

std::string Placement::label(int rank) const {
  return fmt::format("{} {}", device == "cuda" ? "GPU" : "cpu", indices[size_t(rank)]);
}

namespace {

constexpr const char* kWhichGpus =
    "nvidia-smi -L lists them, and CUDA_VISIBLE_DEVICES leaves those that it names (no MIG devices)";

bool names_gpus(const TrainOptions& train) { return train.device == "cuda" || !train.gpus.empty(); }

int num_ranks(const TrainOptions& train) {
  return train.gpus.empty() ? std::max(1, train.nproc) : int(train.gpus.size());
}

Placement on(const std::string& device, const TrainOptions& train) {
  Placement placement{device, train.gpus};
  placement.indices.resize(size_t(num_ranks(train)));
  if (train.gpus.empty()) std::iota(placement.indices.begin(), placement.indices.end(), 0);
  return placement;
}

}  // namespace

void check_precision(const std::string& precision, const Placement& placement, const HostDevices& host) {
  if (precision == "tf32" && placement.device == "cpu")
    throw Error(ExitCode::config, "train.precision tf32 needs GPUs, and these ranks are on the CPU",
                "set train.precision to fp32 or bf16");
  if (placement.device == "cpu") return;
  const bool is_of_ampere = precision == "tf32" || precision == "bf16";
  const std::pair needed = is_of_ampere ? std::pair{8, 0} : std::pair{7, 5};  // the latter for the kernels themselves
  for (const int index : placement.indices) {
    const GpuInfo& gpu = host.gpus[size_t(index)];
    const std::pair has = {gpu.capability_major, gpu.capability_minor};
    if (has >= needed) continue;
    throw Error(ExitCode::config,
                fmt::format("train.precision {} needs compute capability {}.{}, and GPU {} ({}) has {}.{}", precision,
                            needed.first, needed.second, index, gpu.name, has.first, has.second),
                has >= std::pair{7, 5} ? "set train.precision to fp16" : "choose other GPUs, or --device cpu");
  }
}

Placement place_plan(const TrainOptions& train, const HostDevices& host) {
  return names_gpus(train) ? on("cuda", train) : place_ranks(train, host);
}

Placement place_ranks(const TrainOptions& train, const HostDevices& host) {
  const bool wants_cuda = names_gpus(train);
  const int wanted = num_ranks(train);
  const std::string on_cpu = fmt::format("train on the CPU: --nproc {} --device cpu", wanted);
  const std::string asked = train.gpus.empty() ? "--device cuda" : "--gpus";
  if (wants_cuda && !host.driver)
    throw Error(ExitCode::usage, asked + ": this machine has no NVIDIA driver", "install one, or " + on_cpu);
  if (wants_cuda && !host.cuda_built)
    throw Error(ExitCode::usage, asked + ": this build has no CUDA backend", "build with -Dcuda=enabled, or " + on_cpu);
  const int num_gpus = int(host.gpus.size());
  for (const int gpu : train.gpus)
    if (gpu >= num_gpus)
      throw Error(ExitCode::usage, fmt::format("--gpus names GPU {}, but this machine has {}", gpu, num_gpus),
                  kWhichGpus);
  const bool cuda = wants_cuda || (train.device == "auto" && host.cuda_built && num_gpus > 0);
  if (cuda && train.gpus.empty() && wanted > num_gpus)
    throw Error(ExitCode::usage,
                fmt::format("--nproc {} needs as many GPUs, but this machine has {}", wanted, num_gpus),
                on_cpu + "; " + kWhichGpus);
  Placement placement = on(cuda ? "cuda" : "cpu", train);
  if (cuda)
    for (const int gpu : placement.indices) placement.uuids.push_back(host.gpus[size_t(gpu)].uuid);
  return placement;
}

}  // namespace ddp
