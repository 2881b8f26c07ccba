#include "runtime/rank/cuda_backend.h"

#include <dlfcn.h>

#include <filesystem>

#include "runtime/base/cuda_libraries.h"
#include "runtime/base/fs.h"

namespace ddp {
const CudaBackend& open_cuda_backend() {
  const std::filesystem::path path = cuda_module_path(program_folder());
  if (!std::filesystem::exists(path))
    throw Error(ExitCode::usage, "this build has no CUDA backend: " + path.string() + " is not there",
                "build with -Dcuda=enabled, or train with --device cpu");
  const CudaLibraryPlaces places = cuda_library_places(program_folder());
  for (const std::string& name : needed_cuda_libraries(path)) open_cuda_library(name, places);
  void* module = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (module == nullptr)
    throw Error(ExitCode::usage, "cannot open the CUDA backend: " + std::string(::dlerror()),
                "was it built with other libraries than those that are installed?");
  void* entry = ::dlsym(module, "ddp_cuda_backend");
  if (entry == nullptr) throw Error(ExitCode::usage, path.string() + " is not a CUDA backend of this program");
  return *reinterpret_cast<decltype(&ddp_cuda_backend)>(entry)();
}

void* open_nccl() { return open_cuda_library(kNcclLibrary, cuda_library_places(program_folder())); }

void* open_cudnn() { return open_cuda_library(kCudnnLibrary, cuda_library_places(program_folder())); }

}  // namespace ddp
