#include "runtime/base/cuda_wheels.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <link.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>

#include "runtime/base/library_function.h"

namespace ddp {
namespace {

namespace fs = std::filesystem;

struct Package {
  std::string_view library;  // how its file's name begins
  const char *wheel_of_13, *wheel_of_12;
};
// NVIDIA's names of them: those of CUDA 13 carry no series where they are of one alone.
constexpr Package kPackages[] = {{"libcublasLt.so", "nvidia-cublas", "nvidia-cublas-cu12"},
                                 {"libcudnn.so", "nvidia-cudnn-cu13", "nvidia-cudnn-cu12"},
                                 {"libnccl.so", "nvidia-nccl-cu13", "nvidia-nccl-cu12"}};

const Package* package_of(std::string_view library) {
  const auto* found = std::find_if(std::begin(kPackages), std::end(kPackages),
                                   [&](const Package& p) { return library.starts_with(p.library); });
  return found == std::end(kPackages) ? nullptr : found;
}

// The folders in `folder`, in alphabetical order.
std::vector<fs::path> folders_in(const fs::path& folder) {
  std::vector<fs::path> out;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    out.push_back(at->path());
  std::sort(out.begin(), out.end());
  return out;
}

// Whether a wheel's RECORD (lines of "path,sha256=...,bytes") has a file of this path and size.
bool has_record(const fs::path& dist_info, std::string_view path, uintmax_t bytes) {
  std::ifstream record(dist_info / "RECORD");
  const std::string ending = fmt::format(",{}", bytes);
  for (std::string line; std::getline(record, line);) {
    while (line.ends_with('\r')) line.pop_back();
    if (line.starts_with(path) && line.substr(path.size()).starts_with(',') && line.ends_with(ending)) return true;
  }
  return false;
}

// By the record that has its size. It must lie in SITE_PACKAGES/nvidia/PART/lib.
int series_of_wheel(const fs::path& library) {
  const fs::path file = library.lexically_normal();  // a link into another folder, as uv makes them, keeps its own name
  const fs::path part = file.parent_path().parent_path(), site_packages = part.parent_path().parent_path();
  const std::string name = file.lexically_relative(site_packages).string();
  std::error_code error;
  const uintmax_t bytes = fs::file_size(library, error);
  if (error) return 0;
  for (const int series : {13, 12})
    for (const fs::path& folder : folders_in(site_packages)) {
      const std::string wheel = fmt::format("nvidia_{}_cu{}-", part.filename().string(), series);
      const std::string found = folder.filename().string();
      if (found.starts_with(wheel) && found.ends_with(".dist-info") && has_record(folder, name, bytes)) return series;
    }
  return 0;
}

// By its text "NCCL version 2.26.2+cuda12.2", which stands before the code of its kernels.
int series_of_nccl(const fs::path& library) {
  constexpr std::string_view kText = "NCCL version ", kCuda = "+cuda";
  constexpr size_t kTextsAreIn = 8 << 20, kLongestVersion = 32;
  std::string head(kTextsAreIn, '\0');
  std::ifstream file(library, std::ios::binary);
  file.read(head.data(), std::streamsize(head.size()));
  head.resize(size_t(file.gcount()));
  for (size_t at = head.find(kText); at != head.npos; at = head.find(kText, at + 1)) {
    const std::string_view version = std::string_view(head).substr(at, kText.size() + kLongestVersion);
    if (const size_t cuda = version.find(kCuda); cuda != version.npos) return std::atoi(&version[cuda + kCuda.size()]);
  }
  return 0;
}

}  // namespace

bool is_of_a_wheel(std::string_view library) { return package_of(library) != nullptr; }

std::string wheel_of(std::string_view library, int series) {
  const Package* package = package_of(library);
  if (package == nullptr) return std::string(library);
  return series == 12 ? package->wheel_of_12 : package->wheel_of_13;
}

std::vector<fs::path> wheel_folders(const fs::path& site_packages) {
  std::vector<fs::path> out = folders_in(site_packages / "nvidia");
  for (fs::path& folder : out) folder /= "lib";
  return out;
}

int series_of_file(const fs::path& library) {
  const int series = library.filename().string().starts_with("libnccl") ? series_of_nccl(library) : 0;
  return series != 0 ? series : series_of_wheel(library);
}

int series_of_opened(void* library) {
  size_t (*cudnn_version)() = nullptr;
  if (find_function(library, "cudnnGetCudartVersion", cudnn_version)) return int(cudnn_version() / 1000);
  link_map* map = nullptr;
  return ::dlinfo(library, RTLD_DI_LINKMAP, &map) == 0 ? series_of_file(map->l_name) : 0;
}

}  // namespace ddp
