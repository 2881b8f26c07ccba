// NVIDIA's libraries, mostly as its wheels lay them out, site-packages/nvidia/PART/lib. NCCL's and cuDNN's of CUDA 12
// and of 13 are files of the same name in the same place: who installs both has those of the last one. Which one is
// there is told by what NCCL says of itself, by the wheels' own records
// (site-packages/nvidia_PART_cu12-VERSION.dist-info/RECORD), and by cuDNN once it is open.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace ddp {

inline constexpr const char* kNcclLibrary = "libnccl.so.2";
inline constexpr const char* kCudnnLibrary = "libcudnn.so.9";

// Whether a library of this name is one of NVIDIA's that a user has from a wheel.
bool is_of_a_wheel(std::string_view library);
// What pip calls the wheel with it, of the series 12 or 13 of CUDA.
std::string wheel_of(std::string_view library, int series);

// SITE_PACKAGES/nvidia/*/lib, in alphabetical order.
std::vector<std::filesystem::path> wheel_folders(const std::filesystem::path& site_packages);

// 12 or 13, of a library's file; 0 where nothing tells it.
int series_of_file(const std::filesystem::path& library);
// The same of one that dlopen gave.
int series_of_opened(void* library);

}  // namespace ddp
