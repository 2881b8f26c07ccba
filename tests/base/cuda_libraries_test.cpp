// NEEDS_CUBLAS_99 is a backend that needs a cuBLASLt of a version that no machine has; CUBLAS_99 is that library.
#include <dlfcn.h>
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "runtime/base/cuda_libraries.h"
#include "runtime/base/cuda_wheels.h"
#include "runtime/base/error.h"
#include "runtime/base/fs.h"
#include "runtime/base/shared_object.h"
#include "tests/support/temporary_folder.h"

using namespace ddp;
using Catch::Contains;
namespace fs = std::filesystem;

namespace {

constexpr const char* kLibrary = "libcublasLt.so.99";

void put(const fs::path& folder) {
  fs::create_directories(folder);
  fs::copy_file(CUBLAS_99, folder / kLibrary);
}

std::string path_of(void* library) {
  auto* function = reinterpret_cast<const char* (*)()>(::dlsym(library, "stand_in"));
  REQUIRE(function != nullptr);
  Dl_info info = {};
  ::dladdr(reinterpret_cast<void*>(function), &info);
  return info.dli_fname;
}

}  // namespace

TEST_CASE("a shared library's name and needs are read from its file") {
  CHECK(read_shared_object(CUBLAS_99).soname == kLibrary);
  const SharedObject backend = read_shared_object(NEEDS_CUBLAS_99);
  CHECK(std::count(backend.needed.begin(), backend.needed.end(), kLibrary) == 1);
  CHECK_THAT(backend.runpath, Contains("/nowhere/toolkit/lib64"));
}

TEST_CASE("a file that is no shared library, or is cut, is refused; damage is never read past the end of the file") {
  const test::TemporaryFolder folder;
  const std::string whole = read_text(NEEDS_CUBLAS_99);
  const fs::path path = folder.path / "library.so";
  for (const std::string& bytes : {std::string(), std::string("text"),
                                   std::string("\x7f"
                                               "ELF"),
                                   whole.substr(0, 64)}) {
    std::ofstream(path, std::ios::binary) << bytes;
    CHECK_THROWS_AS(read_shared_object(path), Error);
  }
  // No damage of the header or of the program headers leads out of the file: it is refused, or does not matter.
  for (size_t at = 0; at < 64 + 12 * 56; ++at) {
    std::string damaged = whole;
    damaged[at] = char(~damaged[at]);
    std::ofstream(path, std::ios::binary) << damaged;
    try {
      read_shared_object(path);
    } catch (const Error& error) {
      CHECK(error.code() == ExitCode::data);
    }
  }
}

TEST_CASE("a library that is missing is refused with the name of its wheel, of the backend's series") {
  CHECK_THROWS_WITH(missing_cuda_library(kCudnnLibrary, {.series = 13, .toolkit = "/nowhere"}),
                    Contains("libcudnn.so.9 is not there") && Contains("pip install nvidia-cudnn-cu13,"));
  CHECK_THROWS_WITH(missing_cuda_library(kNcclLibrary, {.series = 12, .toolkit = "/nowhere"}),
                    Contains("pip install nvidia-nccl-cu12,"));
  CHECK_THROWS_WITH(missing_cuda_library("libcublasLt.so.13", {.series = 13, .toolkit = "/nowhere"}),
                    Contains("pip install nvidia-cublas,"));
}

TEST_CASE("a wheel of another series is no candidate, and told where there is nothing else") {
  const test::TemporaryFolder folder;
  const auto install = [&](const std::string& site, int series) {
    const fs::path lib = folder.path / site / "nvidia/nccl/lib";
    const fs::path dist_info = folder.path / site / fmt::format("nvidia_nccl_cu{}-2.26.2.dist-info", series);
    fs::create_directories(lib);
    fs::create_directories(dist_info);
    std::ofstream(lib / kNcclLibrary) << "NCCL";
    std::ofstream(dist_info / "RECORD") << "nvidia/nccl/lib/libnccl.so.2,sha256=abc,4\n";
  };
  install("old", 12);
  CudaLibraryPlaces places = {
      .series = 13, .toolkit = folder.path / "none", .site_packages = {folder.path / "old", folder.path / "new"}};
  CHECK(cuda_library_candidates(kNcclLibrary, places).size() == 1);  // the bare name
  CHECK_THROWS_WITH(missing_cuda_library(kNcclLibrary, places),
                    Contains("old/nvidia/nccl/lib/libnccl.so.2 is of CUDA 12, and CUDA 13 is needed") &&
                        Contains("pip install nvidia-nccl-cu13 in an environment of its own"));
  install("new", 13);
  CHECK(cuda_library_candidates(kNcclLibrary, places).back() == folder.path / "new/nvidia/nccl/lib/libnccl.so.2");
  places.series = 0;
  CHECK(cuda_library_candidates(kNcclLibrary, places).size() == 3);
}

TEST_CASE("libraries are looked for in the documented order") {
  const test::TemporaryFolder folder;
  const CudaLibraryPlaces places = {.given = {folder.path / "given"},
                                    .built_with = {folder.path / "built"},
                                    .toolkit = folder.path / "toolkit",
                                    .site_packages = {folder.path / "own", folder.path / "python"},
                                    .conda = folder.path / "conda"};
  for (const char* place : {"given", "built", "toolkit", "own/nvidia/cublas/lib", "python/nvidia/cu13/lib", "conda"})
    put(folder.path / place);
  fs::create_directories(folder.path / "python/nvidia/nccl/lib");
  std::vector<std::string> order;
  for (const fs::path& candidate : cuda_library_candidates(kLibrary, places))
    order.push_back(candidate.has_parent_path() ? fs::relative(candidate, folder.path).parent_path().string()
                                                : candidate.string());
  CHECK(order == std::vector<std::string>{"given", kLibrary, "built", "toolkit", "own/nvidia/cublas/lib",
                                          "python/nvidia/cu13/lib", "conda"});
}

TEST_CASE("a library that tells its series only once it is open is passed over likewise") {
  const test::TemporaryFolder folder;
  fs::create_directories(folder.path / "given");
  fs::copy_file(CUBLAS_98, folder.path / "given" / kCudnnLibrary);
  CudaLibraryPlaces places = {.series = 99, .given = {folder.path / "given"}, .toolkit = folder.path / "none"};
  std::string why_not;
  CHECK(try_cuda_library(folder.path / "given" / kCudnnLibrary, places, why_not) == nullptr);
  CHECK_THAT(why_not, Contains("libcudnn.so.9 is of CUDA 98, and CUDA 99 is needed"));
  places.series = 98;
  CHECK(try_cuda_library(folder.path / "given" / kCudnnLibrary, places, why_not) != nullptr);
}

TEST_CASE("a library that does not open is passed over, and the reason told when none does") {
  const test::TemporaryFolder folder;
  const fs::path broken = folder.path / "given" / kLibrary;
  fs::create_directories(broken.parent_path());
  std::ofstream(broken) << "not a library";
  CudaLibraryPlaces places = {.given = {broken.parent_path()}, .toolkit = folder.path / "none"};
  try {
    open_cuda_library(kLibrary, places);
    FAIL("it was opened");
  } catch (const Error& error) {
    CHECK(error.code() == ExitCode::usage);
    CHECK_THAT(error.what(), Contains(broken.string()) && Contains("pip install") && !Contains("\n"));
  }
  put(folder.path / "conda");
  places.conda = folder.path / "conda";
  void* library = open_cuda_library(kLibrary, places);
  CHECK(path_of(library) == (folder.path / "conda" / kLibrary).string());
  // From now on its name is enough: how the backend's own need is satisfied.
  void* again = ::dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  CHECK(again == library);
}
