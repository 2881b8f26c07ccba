#include "runtime/base/cuda_libraries.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdlib>

#include "runtime/base/cuda_wheels.h"
#include "runtime/base/error.h"
#include "runtime/base/shared_object.h"
#include "runtime/base/text_check.h"

namespace ddp {
namespace {

namespace fs = std::filesystem;

std::string_view environment(const char* variable) {
  const char* value = std::getenv(variable);
  return value != nullptr ? value : "";
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

bool fits(const fs::path& library_of_a_wheel, int series) {
  if (series == 0) return true;
  const int found = series_of_wheel(library_of_a_wheel);
  return found == 0 || found == series;
}

// The first library of that name in a wheel of another series; empty: there is none.
fs::path of_another_series(const std::string& name, const CudaLibraryPlaces& places) {
  for (const fs::path& site_packages : places.site_packages)
    for (const fs::path& folder : wheel_folders(site_packages))
      if (fs::exists(folder / name) && !fits(folder / name, places.series)) return folder / name;
  return {};
}

}  // namespace

CudaLibraryPlaces cuda_library_places(const fs::path& program_folder, const CudaModule& module) {
  CudaLibraryPlaces places;
  places.series = module.series;
  places.given = folders_of(environment("DDP_CUDA_LIBRARIES"));
  places.built_with = module.places;
  // As an installed package: site-packages/ddp_launch/bin.
  places.site_packages.push_back(program_folder.parent_path().parent_path());
  for (fs::path& folder : folders_of(environment("DDP_SITE_PACKAGES")))
    places.site_packages.push_back(std::move(folder));
  if (const std::string conda = plain_variable("CONDA_PREFIX").value_or(""); !conda.empty())
    places.conda = fs::path(conda) / "lib";
  return places;
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
    for (const fs::path& folder : wheel_folders(site_packages))
      if (fits(folder / name, places.series)) add_if_there(folder);
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
  const std::string wheel = wheel_of(name, places.series);
  if (!why.empty())
    throw Error(ExitCode::usage, fmt::format("{} does not open: {}", name, why),
                fmt::format("pip install {}, or let DDP_CUDA_LIBRARIES name its folder", wheel));
  if (const fs::path other = of_another_series(name, places); !other.empty())
    throw Error(
        ExitCode::usage,
        fmt::format("{} is of CUDA {}, and CUDA {} is needed", other.string(), series_of_wheel(other), places.series),
        fmt::format("pip install {} in an environment of its own, since the two overwrite each other, or let "
                    "DDP_CUDA_LIBRARIES name a folder with it",
                    wheel));
  throw Error(ExitCode::usage, fmt::format("{} is not there: looked in {}", name, fmt::join(looked_in(places), ", ")),
              fmt::format("pip install {}, or let DDP_CUDA_LIBRARIES name its folder", wheel));
}

}  // namespace ddp
