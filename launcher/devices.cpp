#include "launcher/devices.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <optional>
#include <string_view>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/text_check.h"

namespace ddp {
namespace {

// Passing over one that says which GPUs there are could take others than those given.
std::optional<std::string> variable(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr) return std::nullopt;
  if (const auto flaw = find_text_flaw(value, TextForm::name))
    throw Error(ExitCode::usage, fmt::format("{} holds {}", name, flaw->what),
                "set it to one line of text, or use --device cpu, which does not look at it");
  return value;
}

}  // namespace

HostDevices probe_host(const TrainOptions& train) {
  HostDevices host;
  if (train.device == "cpu") return host;  // whatever state the driver is in
  // A simulated backend has a module of its own.
  const char* share = std::getenv("DDP_SHARE_GPU");
  host.share_gpu = share != nullptr && std::string_view(share) == "1";
  host.cuda_built = DDP_CUDA != 0 || std::getenv("DDP_CUDA_MODULE") != nullptr;
  host.cuda_visible_devices = variable("CUDA_VISIBLE_DEVICES");
  host.nvidia_visible_devices = variable("NVIDIA_VISIBLE_DEVICES");
  host.control_device = ::access("/dev/nvidiactl", F_OK) == 0;
  const DriverInfo driver = ask_driver();
  host.nvml = driver.has_library;
  host.driver = driver.is_loaded;
  host.num_listed = int(driver.gpus.size());
  host.gpus = host.cuda_visible_devices ? visible_gpus(driver.gpus, *host.cuda_visible_devices) : driver.gpus;
  return host;
}

std::string Placement::label(int rank) const {
  return fmt::format("{} {}", device == "cuda" ? "GPU" : "cpu", indices[size_t(rank)]);
}

namespace {

constexpr const char* kWhichGpus =
    "nvidia-smi -L lists them, and CUDA_VISIBLE_DEVICES leaves those that it names (no MIG devices)";

// `--gpus all` becomes those that are visible; where there are none, device cuda says why.
TrainOptions with_all_gpus(TrainOptions train, const HostDevices& host) {
  if (!train.all_gpus) return train;
  train.device = "cuda";
  train.gpus.resize(host.gpus.size());
  std::iota(train.gpus.begin(), train.gpus.end(), 0);
  return train;
}

bool names_gpus(const TrainOptions& train) { return train.device == "cuda" || !train.gpus.empty(); }

int num_ranks(const TrainOptions& train) {
  return train.gpus.empty() ? std::max(1, train.nproc) : int(train.gpus.size());
}

// Whether the value of CUDA_VISIBLE_DEVICES names a device, of whatever kind. CUDA reads it up to the first name that
// is none.
bool names_a_device(std::string_view visible) {
  const std::string_view first = visible.substr(0, visible.find(','));
  return !first.empty() && first != "-1" && first != "NoDevFiles";
}

bool hides_all(const HostDevices& host) {
  return host.cuda_visible_devices && !names_a_device(*host.cuda_visible_devices);
}

// What says that this process was to have GPUs, as half a sentence; empty where nothing does.
std::string promise_of_gpus(const HostDevices& host) {
  if (hides_all(host)) return {};
  if (host.cuda_visible_devices) return "CUDA_VISIBLE_DEVICES is " + *host.cuda_visible_devices;
  const std::string given = host.nvidia_visible_devices.value_or("");
  // CUDA's images set "all", whether or not the container is given GPUs.
  if (!given.empty() && given != "all" && given != "void" && given != "none")
    return "NVIDIA_VISIBLE_DEVICES is " + given;
  // Who builds without CUDA on a machine with a GPU means the CPU.
  return host.control_device && host.cuda_built ? "there is /dev/nvidiactl" : "";
}

struct Obstacle {
  std::string what, advice;
};

// Why GPUs cannot be used: the nearest reason.
Obstacle obstacle(const HostDevices& host) {
  const std::string visible = host.cuda_visible_devices.value_or("");
  if (visible.starts_with("MIG-"))
    return {"CUDA_VISIBLE_DEVICES names a MIG device, and those are not supported", "let it name whole GPUs"};
  const bool is_bare = !host.control_device && !host.cuda_visible_devices && !host.nvidia_visible_devices;
  if (!host.driver && (host.nvml || is_bare)) return {"this machine has no NVIDIA driver", "install one"};
  if (!host.nvml)
    return {"the NVIDIA driver's libnvidia-ml.so.1 is not there",
            "start a container with NVIDIA_DRIVER_CAPABILITIES=compute,utility, or install the driver"};
  if (!host.cuda_built) return {"this build has no CUDA backend", "build with -Dcuda=enabled"};
  if (host.num_listed == 0)
    return {"the NVIDIA driver lists no GPU", "see nvidia-smi -L, and start a container with --gpus all"};
  return {fmt::format("CUDA_VISIBLE_DEVICES ({}) leaves none of {} GPUs", visible, host.num_listed), kWhichGpus};
}

Placement on(const std::string& device, const TrainOptions& train) {
  Placement placement{device, train.gpus};
  placement.indices.resize(size_t(num_ranks(train)));
  if (train.gpus.empty()) std::iota(placement.indices.begin(), placement.indices.end(), 0);
  return placement;
}

// The first GPU that is named again; nullopt: none.
std::optional<int> named_twice(std::vector<int> gpus) {
  std::sort(gpus.begin(), gpus.end());
  const auto twice = std::adjacent_find(gpus.begin(), gpus.end());
  return twice == gpus.end() ? std::nullopt : std::optional(*twice);
}

void check_sharing(const TrainOptions& train, const HostDevices& host) {
  if (const std::optional<int> gpu = named_twice(train.gpus); gpu && !host.share_gpu)
    throw Error(ExitCode::usage, fmt::format("--gpus names GPU {} twice", *gpu));
}

// (major, minor)
std::pair<int, int> least_capability(PrecisionName precision) {
  switch (precision) {
    case PrecisionName::tf32:
    case PrecisionName::bf16:
      return {8, 0};
    case PrecisionName::fp32:
    case PrecisionName::fp16:
      break;
  }
  return {7, 5};  // of the kernels themselves
}

}  // namespace

bool Placement::shares_gpu() const { return named_twice(indices).has_value(); }

void check_precision(PrecisionName precision, const Placement& placement, const HostDevices& host) {
  if (precision == PrecisionName::tf32 && placement.device == "cpu")
    throw Error(ExitCode::config, "train.precision tf32 needs GPUs, and these ranks are on the CPU",
                "set train.precision to fp32 or bf16");
  if (placement.device == "cpu") return;
  const std::pair needed = least_capability(precision);
  for (const int index : placement.indices) {
    const GpuInfo& gpu = host.gpus[size_t(index)];
    const std::pair has = {gpu.capability_major, gpu.capability_minor};
    if (has >= needed) continue;
    throw Error(ExitCode::config,
                fmt::format("train.precision {} needs compute capability {}.{}, and GPU {} ({}) has {}.{}",
                            name_of(precision), needed.first, needed.second, index, gpu.name, has.first, has.second),
                has >= std::pair{7, 5} ? "set train.precision to fp16" : "choose other GPUs, or --device cpu");
  }
}

Placement place_plan(const TrainOptions& asked, const HostDevices& host) {
  const TrainOptions train = with_all_gpus(asked, host);
  if (asked.all_gpus && train.gpus.empty()) return place_ranks(train, host);  // says why there are none
  check_sharing(train, host);
  return names_gpus(train) ? on("cuda", train) : place_ranks(train, host);
}

Placement place_ranks(const TrainOptions& wish, const HostDevices& host) {
  const TrainOptions train = with_all_gpus(wish, host);
  check_sharing(train, host);
  const bool wants_cuda = names_gpus(train);
  const int wanted = num_ranks(train);
  const std::string on_cpu = fmt::format("train on the CPU: --nproc {} --device cpu", wanted);
  const std::string asked = train.gpus.empty() && !train.all_gpus ? "--device cuda" : "--gpus";
  const int num_gpus = int(host.gpus.size());
  const bool usable = host.cuda_built && num_gpus > 0;
  const std::string promise = train.device == "auto" ? promise_of_gpus(host) : "";
  if (!usable && (wants_cuda || !promise.empty())) {
    const Obstacle o = obstacle(host);
    throw Error(ExitCode::usage,
                wants_cuda ? asked + ": " + o.what
                           : fmt::format("--device auto: no GPU can be used, though {}: {}", promise, o.what),
                o.advice + ", or " + on_cpu);
  }
  for (const int gpu : train.gpus)
    if (gpu >= num_gpus)
      throw Error(ExitCode::usage, fmt::format("--gpus names GPU {}, but this machine has {}", gpu, num_gpus),
                  kWhichGpus);
  const bool cuda = wants_cuda || (train.device == "auto" && usable);
  if (cuda && train.gpus.empty() && wanted > num_gpus)
    throw Error(ExitCode::usage,
                fmt::format("--nproc {} needs as many GPUs, but this machine has {}", wanted, num_gpus),
                on_cpu + "; " + kWhichGpus);
  Placement placement = on(cuda ? "cuda" : "cpu", train);
  if (cuda)
    for (const int gpu : placement.indices) placement.uuids.push_back(host.gpus[size_t(gpu)].uuid);
  const bool is_expected = host.control_device || host.nvidia_visible_devices == "all";
  if (train.device == "auto" && !cuda && is_expected && !hides_all(host))
    placement.note = fmt::format("training on the CPU: {}; --device cpu says that this is meant", obstacle(host).what);
  return placement;
}

}  // namespace ddp
