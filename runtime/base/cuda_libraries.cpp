#include "runtime/base/cuda_libraries.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>

#include "runtime/base/cuda_wheels.h"
#include "runtime/base/error.h"
#include "runtime/base/is_there.h"
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

bool fits(int found, const CudaLibraryPlaces& places) {
  return found == 0 || places.series == 0 || found == places.series;
}

std::string misfit_text(const std::string& library, int found, const CudaLibraryPlaces& places) {
  return fmt::format("{} is of CUDA {}, and CUDA {} is needed", library, found, places.series);
}

bool is_in_wheel(const fs::path& library, const CudaLibraryPlaces& places) {
  return std::any_of(places.site_packages.begin(), places.site_packages.end(), [&](const fs::path& folder) {
    return library.string().starts_with(fs::absolute(folder).string());
  });
}

// As cuda_library_candidates, of any series.
std::vector<fs::path> all_candidates(const std::string& name, const CudaLibraryPlaces& places) {
  std::vector<fs::path> out;
  const auto add_if_there = [&](const fs::path& folder) {
    if (fs::path file = folder / name; is_there(file)) out.push_back(fs::absolute(file));
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
  std::vector<fs::path> out = all_candidates(name, places);
  std::erase_if(out,
                [&](const fs::path& file) { return file.has_parent_path() && !fits(series_of_file(file), places); });
  return out;
}

void* try_cuda_library(const fs::path& candidate, const CudaLibraryPlaces& places, std::string& why_not) {
  void* library = ::dlopen(candidate.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    why_not = fmt::format("{} does not open: {}", candidate.filename().string(), ::dlerror());
    return nullptr;
  }
  const int series = series_of_opened(library);
  if (fits(series, places)) return library;
  why_not = misfit_text(candidate.string(), series, places);
  ::dlclose(library);
  return nullptr;
}

void* open_cuda_library(const std::string& name, const CudaLibraryPlaces& places) {
  std::string why;
  for (const fs::path& candidate : cuda_library_candidates(name, places)) {
    std::string why_not;
    if (void* library = try_cuda_library(candidate, places, why_not); library != nullptr) return library;
    if (candidate.has_parent_path() && why.empty()) why = why_not;
  }
  missing_cuda_library(name, places, why);
}

void missing_cuda_library(const std::string& name, const CudaLibraryPlaces& places, const std::string& why) {
  const std::string wheel = wheel_of(name, places.series);
  std::string what = why, where = "";
  if (what.empty()) what = fmt::format("{} is not there: looked in {}", name, fmt::join(looked_in(places), ", "));
  for (const fs::path& file : all_candidates(name, places)) {
    const int series = file.has_parent_path() ? series_of_file(file) : 0;
    if (fits(series, places)) continue;
    what = misfit_text(file.string(), series, places);
    if (is_in_wheel(file, places))
      where = " in an environment of its own, since wheels of the two overwrite each other";
    break;
  }
  throw Error(ExitCode::usage, what,
              fmt::format("pip install {}{}, or let DDP_CUDA_LIBRARIES name its folder", wheel, where));
}

}  // namespace ddp
