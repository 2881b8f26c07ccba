#include "runtime/rank/cuda_backend.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <optional>

#include "runtime/base/cuda_libraries.h"
#include "runtime/base/cuda_wheels.h"
#include "runtime/base/fs.h"
#include "runtime/base/log.h"

namespace ddp {
namespace {

// Which one this process has open: whose series NCCL and cuDNN must be of.
CudaModule& opened() {
  static CudaModule module;
  return module;
}

void* open_module(const CudaModule& module) {
  const CudaLibraryPlaces places = cuda_library_places(program_folder(), module);
  for (const std::string& name : module.needed) open_cuda_library(name, places);
  for (const std::filesystem::path& library : module.own) ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  void* handle = ::dlopen(module.path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr)
    throw Error(ExitCode::usage, "cannot open the CUDA backend: " + std::string(::dlerror()),
                "was it built with other libraries than those that are installed?");
  opened() = module;
  return handle;
}

// The newest whose libraries open; where none has them, what the newest lacks.
void* open_first(const std::vector<CudaModule>& modules) {
  std::optional<Error> first;
  for (const CudaModule& module : modules) {
    try {
      return open_module(module);
    } catch (const Error& error) {
      if (!first) first = error;
    }
  }
  throw *first;
}

}  // namespace

const CudaBackend& open_cuda_backend() {
  void* module = open_first(usable_cuda_modules(program_folder()));
  void* entry = ::dlsym(module, "ddp_cuda_backend");
  if (entry == nullptr) throw Error(ExitCode::usage, opened().path.string() + " is not a CUDA backend of this program");
  log::note(fmt::format("CUDA backend: {}", opened().path.string()));
  return *reinterpret_cast<decltype(&ddp_cuda_backend)>(entry)();
}

void* open_nccl() { return open_cuda_library(kNcclLibrary, cuda_library_places(program_folder(), opened())); }

void* open_cudnn() { return open_cuda_library(kCudnnLibrary, cuda_library_places(program_folder(), opened())); }

}  // namespace ddp
