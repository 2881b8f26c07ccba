// Chooses the CUDA backend that ranks will open and looks for its libraries, before the fork: so that one that is
// missing is told once and at once, all ranks open the same, and Python is asked where it has NVIDIA's wheels by one
// process.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "runtime/base/cuda_module.h"

namespace ddp {

struct CudaChoice {
  std::string module;  // the path of the backend; empty on the CPU
  // Folders of Python's sys.path that hold its libraries, between colons; empty where they are found without Python.
  std::string site_packages;
};
// For ranks that execute `rank_program`: the newest backend that the driver runs and whose libraries are all there.
// Pythons that are asked: $VIRTUAL_ENV's, $CONDA_PREFIX's, python3 on PATH; each once, the first that has all is taken.
// Errors: those of usable_cuda_modules; usage (64) when no backend has all of its libraries, telling of the one that
// lacks fewest.
CudaChoice choose_cuda(const std::filesystem::path& rank_program, const OpenedLibraries& opened);

struct FoundLibrary {
  std::string name;   // "libnccl.so.2"
  std::string place;  // its path; the name alone where the loader finds it; empty: it is nowhere
};
// Those of one backend, whether or not the driver runs it. All Pythons are asked.
std::vector<FoundLibrary> find_cuda_libraries(const std::filesystem::path& rank_program, const CudaModule& module,
                                              const OpenedLibraries& opened);

}  // namespace ddp
