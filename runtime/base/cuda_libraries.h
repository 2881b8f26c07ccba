// Where NVIDIA's libraries are. They need not be where the loader looks: a lab's container has them in Python's
// site-packages alone. So ddp-rank opens each by its path before it opens the CUDA backend, whose needs glibc then
// satisfies by their names. No LD_LIBRARY_PATH, which would reach every library of every child, and no second exec.
//
// The launcher looks for the same files, to ask Python only where it must and to refuse a run before the fork.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "runtime/base/cuda_module.h"

namespace ddp {

// In the order in which they are looked through; the loader's own places come after `given`.
struct CudaLibraryPlaces {
  int series = 0;                                 // of the backend: what is known to be of another does not fit. 0: any
  std::vector<std::filesystem::path> given = {};  // $DDP_CUDA_LIBRARIES: folders between colons
  std::vector<std::filesystem::path> built_with = {};  // of the toolkit, where the backend lies in its build folder
  std::filesystem::path toolkit = "/usr/local/cuda/lib64";
  std::vector<std::filesystem::path> site_packages = {};  // whose nvidia/*/lib are of NVIDIA's wheels
  std::filesystem::path conda = {};                       // $CONDA_PREFIX/lib
};
// For a backend of programs in `program_folder`: the environment's, those that the backend's file names, and the
// site-packages that this package may lie in. What Python says of its own the launcher hands to ranks in
// DDP_SITE_PACKAGES.
CudaLibraryPlaces cuda_library_places(const std::filesystem::path& program_folder, const CudaModule& module);

// Existing files of that name that fit, in order; and at its place the bare name, for the loader to look up.
std::vector<std::filesystem::path> cuda_library_candidates(const std::string& name, const CudaLibraryPlaces& places);

// The handle of a candidate (RTLD_NOW, RTLD_LOCAL); nullptr where it does not open or fit, and why.
void* try_cuda_library(const std::filesystem::path& candidate, const CudaLibraryPlaces& places, std::string& why_not);
// That of the first candidate that opens and fits. Errors: missing_cuda_library.
void* open_cuda_library(const std::string& name, const CudaLibraryPlaces& places);
// Throws usage (64): tells where it was looked for, why a file that is there does not fit or open, and what installs
// it.
[[noreturn]] void missing_cuda_library(const std::string& name, const CudaLibraryPlaces& places,
                                       const std::string& why = {});

}  // namespace ddp
