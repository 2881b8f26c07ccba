#include "runtime/cuda_backend.h"

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>

namespace ddp {
namespace {

std::filesystem::path module_path() {
  if (const char* given = std::getenv("DDP_CUDA_MODULE"); given != nullptr) return given;
  return std::filesystem::read_symlink("/proc/self/exe").parent_path() / "libddp-cuda.so";
}

}  // namespace

const CudaBackend& open_cuda_backend() {
  const std::filesystem::path path = module_path();
  if (!std::filesystem::exists(path))
    throw Error(ExitCode::usage, "this build has no CUDA backend: " + path.string() + " is not there",
                "build with -Dcuda=enabled, or train with --device cpu");
  void* module = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (module == nullptr)
    throw Error(ExitCode::usage, "cannot open the CUDA backend: " + std::string(::dlerror()),
                "are the CUDA libraries it was built with still installed?");
  void* entry = ::dlsym(module, "ddp_cuda_backend");
  if (entry == nullptr) throw Error(ExitCode::usage, path.string() + " is not a CUDA backend of this program");
  return *reinterpret_cast<decltype(&ddp_cuda_backend)>(entry)();
}

}  // namespace ddp
