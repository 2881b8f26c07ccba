#include "launcher/nvml.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <optional>

#include "runtime/base/error.h"
#include "runtime/base/library_function.h"
#include "runtime/base/number.h"

namespace ddp {
namespace {

// The used subset of NVML's ABI: its header is not part of every toolkit.
using NvmlDevice = void*;
using NvmlReturn = int;
constexpr NvmlReturn kSuccess = 0, kDriverNotLoaded = 9;

struct CloseLibrary {
  void operator()(void* library) const { ::dlclose(library); }
};

class Nvml {
 public:
  // Empty where there is no such library.
  static std::optional<Nvml> open() {
    const char* given = std::getenv("DDP_NVML");
    std::unique_ptr<void, CloseLibrary> library(
        ::dlopen(given != nullptr ? given : "libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL));
    if (!library) return std::nullopt;
    return Nvml(std::move(library));
  }

  // False where the library is there but no driver runs.
  bool start() const {
    const NvmlReturn result = function<NvmlReturn()>("nvmlInit_v2")();
    if (result == kDriverNotLoaded) return false;
    check(result, "nvmlInit");
    return true;
  }
  void stop() const { function<NvmlReturn()>("nvmlShutdown")(); }

  unsigned count() const {
    unsigned n = 0;
    check(function<NvmlReturn(unsigned*)>("nvmlDeviceGetCount_v2")(&n), "nvmlDeviceGetCount");
    return n;
  }

  GpuInfo info(unsigned index) const {
    NvmlDevice device = nullptr;
    check(function<NvmlReturn(unsigned, NvmlDevice*)>("nvmlDeviceGetHandleByIndex_v2")(index, &device),
          "nvmlDeviceGetHandleByIndex");
    char uuid[96] = {}, name[96] = {};
    GpuInfo gpu{.index = int(index), .uuid = {}, .name = {}};
    check(function<NvmlReturn(NvmlDevice, char*, unsigned)>("nvmlDeviceGetUUID")(device, uuid, sizeof uuid),
          "nvmlDeviceGetUUID");
    check(function<NvmlReturn(NvmlDevice, char*, unsigned)>("nvmlDeviceGetName")(device, name, sizeof name),
          "nvmlDeviceGetName");
    check(function<NvmlReturn(NvmlDevice, int*, int*)>("nvmlDeviceGetCudaComputeCapability")(
              device, &gpu.capability_major, &gpu.capability_minor),
          "nvmlDeviceGetCudaComputeCapability");
    gpu.uuid = uuid;
    gpu.name = name;
    return gpu;
  }

 private:
  explicit Nvml(std::unique_ptr<void, CloseLibrary> library) : library_(std::move(library)) {}

  template <class Signature>
  Signature* function(const char* name) const {
    Signature* found = nullptr;
    if (!find_function(library_.get(), name, found))
      throw Error(ExitCode::os_resource, fmt::format("the NVIDIA driver's library lacks {}", name));
    return found;
  }

  void check(NvmlReturn result, const char* call) const {
    if (result == kSuccess) return;
    throw Error(ExitCode::os_resource,
                fmt::format("{}: {}", call, function<const char*(NvmlReturn)>("nvmlErrorString")(result)),
                "does nvidia-smi work? --device cpu trains without");
  }

  std::unique_ptr<void, CloseLibrary> library_;
};

bool names(std::string_view word, const GpuInfo& gpu) {
  if (word.starts_with("GPU-")) return gpu.uuid.starts_with(word);
  return parse_number<int>(word) == gpu.index;
}

}  // namespace

DriverInfo ask_driver() {
  DriverInfo driver;
  const std::optional<Nvml> nvml = Nvml::open();
  driver.has_library = nvml.has_value();
  driver.is_loaded = nvml && nvml->start();
  if (!driver.is_loaded) return driver;
  for (unsigned i = 0, n = nvml->count(); i < n; ++i) driver.gpus.push_back(nvml->info(i));
  nvml->stop();
  return driver;
}

std::vector<GpuInfo> visible_gpus(const std::vector<GpuInfo>& all, std::string_view visible) {
  std::vector<bool> named(all.size());
  while (!visible.empty()) {
    const std::string_view word = visible.substr(0, visible.find(','));
    visible.remove_prefix(std::min(word.size() + 1, visible.size()));
    const auto gpu = std::find_if(all.begin(), all.end(), [&](const GpuInfo& g) { return names(word, g); });
    if (gpu == all.end()) break;
    named[size_t(gpu - all.begin())] = true;
  }
  std::vector<GpuInfo> out;
  for (size_t i = 0; i < all.size(); ++i)
    if (named[i]) out.push_back(all[i]);
  return out;
}

}  // namespace ddp
