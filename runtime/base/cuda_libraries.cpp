#include "runtime/base/cuda_libraries.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "runtime/base/error.h"
#include "runtime/base/shared_object.h"
#include "runtime/base/text_check.h"

namespace ddp {
namespace {

namespace fs = std::filesystem;

struct Package {
  std::string_view library;  // how its file's name begins
  const char* wheel;
};
// NVIDIA's names of the wheels: those of CUDA 13 carry no series where they are of one alone.
constexpr std::array<Package, 4> kPackages = {{{"libcublasLt.so.13", "nvidia-cublas"},
                                               {"libcublasLt.so", "nvidia-cublas-cu12"},
                                               {"libcudnn.so", "nvidia-cudnn-cu13 (nvidia-cudnn-cu12 for CUDA 12)"},
                                               {"libnccl.so", "nvidia-nccl-cu13 (nvidia-nccl-cu12 for CUDA 12)"}}};

const Package* package_of(std::string_view library) {
  const auto found = std::find_if(kPackages.begin(), kPackages.end(),
                                  [&](const Package& p) { return library.starts_with(p.library); });
  return found == kPackages.end() ? nullptr : &*found;
}

std::vector<fs::path> folders_of(std::string_view rest) {
  std::vector<fs::path> out;
  while (!rest.empty()) {
    const std::string_view folder = rest.substr(0, rest.find(':'));
    rest.remove_prefix(std::min(folder.size() + 1, rest.size()));
    if (!folder.empty()) out.emplace_back(folder);
  }
  return out;
}

std::string_view environment(const char* variable) {
  const char* value = std::getenv(variable);
  return value != nullptr ? value : "";
}

// nvidia/cublas/lib, nvidia/cu13/lib, ...: the wheels put theirs side by side.
std::vector<fs::path> wheel_folders(const fs::path& site_packages) {
  std::vector<fs::path> out;
  std::error_code error;
  for (fs::directory_iterator at(site_packages / "nvidia", error), end; !error && at != end; at.increment(error))
    out.push_back(at->path() / "lib");
  std::sort(out.begin(), out.end());
  return out;
}

std::vector<std::string> looked_in(const CudaLibraryPlaces& places) {
  std::vector<std::string> out;
  for (const fs::path& folder : places.given) out.push_back(folder.string());
  out.emplace_back("the loader's own folders");
  for (const fs::path& folder : places.built_with) out.push_back(folder.string());
  out.push_back(places.toolkit.string());
  for (const fs::path& folder : places.site_packages) out.push_back((folder / "nvidia/*/lib").string());
  if (!places.conda.empty()) out.push_back(places.conda.string());
  return out;
}

}  // namespace

CudaLibraryPlaces cuda_library_places(const fs::path& program_folder) {
  CudaLibraryPlaces places;
  places.given = folders_of(environment("DDP_CUDA_LIBRARIES"));
  if (const fs::path module = cuda_module_path(program_folder); fs::exists(module))
    for (fs::path& folder : folders_of(read_shared_object(module).runpath))
      if (folder.is_absolute()) places.built_with.push_back(std::move(folder));  // and not of $ORIGIN
  // As an installed package: site-packages/ddp_launch/bin.
  places.site_packages.push_back(program_folder.parent_path().parent_path());
  for (fs::path& folder : folders_of(environment("DDP_SITE_PACKAGES")))
    places.site_packages.push_back(std::move(folder));
  if (const std::string conda = plain_variable("CONDA_PREFIX").value_or(""); !conda.empty())
    places.conda = fs::path(conda) / "lib";
  return places;
}

fs::path cuda_module_path(const fs::path& program_folder) {
  if (const char* given = std::getenv("DDP_CUDA_MODULE"); given != nullptr) return given;
  for (const char* name : {"libddp-cuda13.so", "libddp-cuda12.so"})
    for (const fs::path& folder : {program_folder, program_folder.parent_path() / "lib"})
      if (fs::exists(folder / name)) return folder / name;
  return program_folder / "libddp-cuda13.so";
}

std::vector<std::string> needed_cuda_libraries(const fs::path& module, const OpenedLibraries& opened) {
  SharedObject object = read_shared_object(module);
  if (opened.nccl) object.needed.emplace_back(kNcclLibrary);
  if (opened.cudnn) object.needed.emplace_back(kCudnnLibrary);
  std::vector<std::string> out;
  for (const std::string& name : object.needed)
    if (package_of(name) != nullptr && name != object.soname) out.push_back(name);
  return out;
}

std::vector<fs::path> cuda_library_candidates(const std::string& name, const CudaLibraryPlaces& places) {
  std::vector<fs::path> out;
  const auto add_if_there = [&](const fs::path& folder) {
    if (fs::path file = folder / name; fs::exists(file)) out.push_back(fs::absolute(file));
  };
  for (const fs::path& folder : places.given) add_if_there(folder);
  out.emplace_back(name);
  for (const fs::path& folder : places.built_with) add_if_there(folder);
  add_if_there(places.toolkit);
  for (const fs::path& site_packages : places.site_packages)
    for (const fs::path& folder : wheel_folders(site_packages)) add_if_there(folder);
  if (!places.conda.empty()) add_if_there(places.conda);
  return out;
}

void* open_cuda_library(const std::string& name, const CudaLibraryPlaces& places) {
  std::string why;
  for (const fs::path& candidate : cuda_library_candidates(name, places)) {
    if (void* library = ::dlopen(candidate.c_str(), RTLD_NOW | RTLD_LOCAL); library != nullptr) return library;
    if (candidate.has_parent_path() && why.empty()) why = ::dlerror();
  }
  missing_cuda_library(name, places, why);
}

void missing_cuda_library(const std::string& name, const CudaLibraryPlaces& places, const std::string& why) {
  const Package* package = package_of(name);
  throw Error(ExitCode::usage,
              why.empty() ? fmt::format("{} is not there: looked in {}", name, fmt::join(looked_in(places), ", "))
                          : fmt::format("{} does not open: {}", name, why),
              fmt::format("pip install {}, or let DDP_CUDA_LIBRARIES name its folder",
                          package != nullptr ? package->wheel : name));
}

}  // namespace ddp
