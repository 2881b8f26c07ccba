// The CUDA backend is a module that a rank on a GPU opens. A build may have one for each series of CUDA: a driver of
// the 12 series runs no program of 13, and PyTorch's libraries of 12 lie beside many users' Python. Which one is taken
// is decided once, by the launcher (launcher/cuda_search.h), which names it to its ranks; a program without a launcher
// decides for itself (runtime/rank/cuda_backend.h).
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace ddp {

// Which libraries a run needs beside those that its backend is linked with.
struct OpenedLibraries {
  bool nccl = false;   // several ranks
  bool cudnn = false;  // a model that convolves
};

struct CudaModule {
  std::filesystem::path path;
  int series = 0;                                  // 12, 13: of the cuBLASLt that it is linked with; 0: with none
  std::vector<std::string> needed = {};            // the names of NVIDIA's libraries that it is linked with
  std::vector<std::filesystem::path> places = {};  // where these were, in its build folder
  // What else it needs and has beside itself, as a bundle's libcudart.so.12: to be opened by path, since
  // LD_LIBRARY_PATH comes before a module's RUNPATH.
  std::vector<std::filesystem::path> own = {};
  std::string soname = {};
  std::string built = {};  // "nvcc 13.0.88 for sm_75, sm_90"; empty where it does not say

  // NVIDIA's of a run. A module that says it is one of them itself, as the simulator does of NCCL, does not need that.
  std::vector<std::string> libraries(const OpenedLibraries& opened) const;
};
// Errors: no_input (66) when it cannot be read, data (65) when it is no module of this machine.
CudaModule read_cuda_module(const std::filesystem::path& path);

// The version of CUDA that the NVIDIA driver supports, 12060 for 12.6, of its libcuda.so.1; nullopt: there is none. No
// context is made, so that this process may still fork.
std::optional<int> cuda_driver_version();

std::string version_text(int version);  // "12.6" of 12060

// Those of `modules` that a driver runs, in their order. Errors: usage (64), naming both versions, where it runs none.
std::vector<CudaModule> modules_of_driver(const std::vector<CudaModule>& modules, std::optional<int> driver);

// The modules of programs in `program_folder`, the newest series first: $DDP_CUDA_MODULE alone where that is set and
// not empty, else libddp-cuda13.so and libddp-cuda12.so, beside them or in ../lib. Errors: usage (64) where there is
// none.
std::vector<CudaModule> cuda_modules(const std::filesystem::path& program_folder);
// Those that the driver runs; it is not asked about $DDP_CUDA_MODULE. Errors: as cuda_modules and modules_of_driver.
std::vector<CudaModule> usable_cuda_modules(const std::filesystem::path& program_folder);

}  // namespace ddp
