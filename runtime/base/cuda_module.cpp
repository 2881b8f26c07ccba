#include "runtime/base/cuda_module.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "runtime/base/cuda_wheels.h"
#include "runtime/base/error.h"
#include "runtime/base/is_there.h"
#include "runtime/base/library_function.h"
#include "runtime/base/shared_object.h"

namespace ddp {
namespace {

namespace fs = std::filesystem;

constexpr const char* kVariable = "DDP_CUDA_MODULE";
constexpr const char* kOnCpu = "or train with --device cpu";

struct Series {
  int number;
  const char* module;
  const char* least_driver;  // NVIDIA's number of the first one of the series
};
constexpr Series kSeries[] = {{13, "libddp-cuda13.so", "580"}, {12, "libddp-cuda12.so", "525"}};

// Of $DDP_CUDA_MODULE; empty where that is empty, too.
std::string given_module() {
  const char* value = std::getenv(kVariable);
  return value != nullptr ? value : "";
}

int series_of(const std::vector<std::string>& needed) {
  constexpr std::string_view kCublas = "libcublasLt.so.";
  for (const std::string& name : needed)
    if (name.starts_with(kCublas)) return std::atoi(name.c_str() + kCublas.size());
  return 0;
}

[[noreturn]] void no_module(const fs::path& looked_for) {
  throw Error(ExitCode::usage, "this build has no CUDA backend: " + looked_for.string() + " is not there",
              fmt::format("build with -Dcuda=enabled, {}", kOnCpu));
}

std::vector<fs::path> module_files(const fs::path& program_folder) {
  std::vector<fs::path> out;
  for (const Series& series : kSeries)
    for (const fs::path& folder : {program_folder, program_folder.parent_path() / "lib"})
      if (fs::path file = folder / series.module; is_there(file)) {
        out.push_back(std::move(file));
        break;
      }
  return out;
}

}  // namespace

std::string version_text(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }

std::vector<std::string> CudaModule::libraries(const OpenedLibraries& opened) const {
  std::vector<std::string> out = needed;
  if (opened.nccl && soname != kNcclLibrary) out.emplace_back(kNcclLibrary);
  if (opened.cudnn && soname != kCudnnLibrary) out.emplace_back(kCudnnLibrary);
  return out;
}

CudaModule read_cuda_module(const fs::path& path) {
  const SharedObject object = read_shared_object(path);
  CudaModule module{.path = path, .soname = object.soname, .built = object.note};
  for (const std::string& name : object.needed) {
    if (is_of_a_wheel(name))
      module.needed.push_back(name);
    else if (fs::path beside = path.parent_path() / name; is_there(beside))
      module.own.push_back(std::move(beside));
  }
  std::erase(module.needed, object.soname);
  module.series = series_of(module.needed);
  // A toolkit that lies in the tree is named by its way from the module, $ORIGIN, which itself is no such place.
  constexpr std::string_view kOrigin = "$ORIGIN/";
  for (fs::path& folder : folders_of(object.runpath)) {
    const std::string text = folder.string();
    if (text.starts_with(kOrigin) && text.size() > kOrigin.size())
      folder = (path.parent_path() / text.substr(kOrigin.size())).lexically_normal();
    if (folder.is_absolute()) module.places.push_back(std::move(folder));
  }
  return module;
}

std::optional<int> cuda_driver_version() {
  void* library = ::dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
  if (library == nullptr) return std::nullopt;
  int (*get_version)(int*) = nullptr;
  int version = 0;
  const bool is_known = find_function(library, "cuDriverGetVersion", get_version) && get_version(&version) == 0;
  ::dlclose(library);
  return is_known ? std::optional(version) : std::nullopt;
}

std::vector<CudaModule> modules_of_driver(const std::vector<CudaModule>& modules, std::optional<int> driver) {
  if (!driver)
    throw Error(ExitCode::usage, "this machine has no NVIDIA driver: libcuda.so.1 does not open",
                fmt::format("install one, in a container start it with NVIDIA_DRIVER_CAPABILITIES=compute,utility, {}",
                            kOnCpu));
  std::vector<CudaModule> out;
  std::copy_if(modules.begin(), modules.end(), std::back_inserter(out),
               [&](const CudaModule& m) { return m.series * 1000 <= *driver; });
  if (!out.empty()) return out;
  const int least = modules.back().series;
  const auto* series =
      std::find_if(std::begin(kSeries), std::end(kSeries), [&](const Series& s) { return s.number == least; });
  throw Error(ExitCode::usage,
              fmt::format("the NVIDIA driver is too old: it supports CUDA {}, and this build needs {}",
                          version_text(*driver), version_text(least * 1000)),
              fmt::format("update the driver{}{}, {}",
                          series != std::end(kSeries) ? fmt::format(" to {} or later", series->least_driver) : "",
                          least > 12 && *driver >= 12000 ? ", take a build that has libddp-cuda12.so" : "", kOnCpu));
}

std::vector<CudaModule> cuda_modules(const fs::path& program_folder) {
  if (const std::string given = given_module(); !given.empty()) {
    const fs::path file = fs::absolute(given);
    if (!is_there(file)) no_module(file);
    return {read_cuda_module(file)};
  }
  std::vector<CudaModule> modules;
  for (const fs::path& file : module_files(program_folder)) modules.push_back(read_cuda_module(file));
  if (modules.empty()) no_module(program_folder / kSeries[0].module);
  return modules;
}

std::vector<CudaModule> usable_cuda_modules(const fs::path& program_folder) {
  const std::vector<CudaModule> modules = cuda_modules(program_folder);
  return given_module().empty() ? modules_of_driver(modules, cuda_driver_version()) : modules;
}

}  // namespace ddp
