// NEEDS_CUBLAS_PATH is a backend that needs a cuBLASLt of a version that no machine has; STAND_IN_PATH is that library.
#include <dlfcn.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "runtime/base/cuda_libraries.h"
#include "runtime/base/error.h"
#include "runtime/base/fs.h"
#include "runtime/base/shared_object.h"
#include "tests/support/environment.h"
#include "tests/support/temporary_folder.h"

using namespace ddp;
using Catch::Contains;
namespace fs = std::filesystem;

namespace {

constexpr const char* kLibrary = "libcublasLt.so.99";

void put(const fs::path& folder) {
  fs::create_directories(folder);
  fs::copy_file(STAND_IN_PATH, folder / kLibrary);
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
  CHECK(read_shared_object(STAND_IN_PATH).soname == kLibrary);
  const SharedObject backend = read_shared_object(NEEDS_CUBLAS_PATH);
  CHECK(std::count(backend.needed.begin(), backend.needed.end(), kLibrary) == 1);
  CHECK_THAT(backend.runpath, Contains("/nowhere/toolkit/lib64"));
}

TEST_CASE("a file that is no shared library, or is cut, is refused; damage is never read past the end of the file") {
  const test::TemporaryFolder folder;
  const std::string whole = read_text(STAND_IN_PATH);
  const fs::path path = folder.path / "library.so";
  for (const std::string& bytes : {std::string(), std::string("text"),
                                   std::string("\x7f"
                                               "ELF"),
                                   whole.substr(0, 64)}) {
    std::ofstream(path, std::ios::binary) << bytes;
    CHECK_THROWS_AS(read_shared_object(path), Error);
  }
  // No damage of the header or of the program headers leads out of the file: it is refused, or does not matter.
  for (size_t at = 0; at < 64 + 4 * 56; ++at) {
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

TEST_CASE("a run needs NVIDIA's libraries that its backend is linked with, and those that it opens itself") {
  using Names = std::vector<std::string>;
  CHECK(needed_cuda_libraries(NEEDS_CUBLAS_PATH) == Names{kLibrary});
  CHECK(needed_cuda_libraries(NEEDS_CUBLAS_PATH, {.nccl = true}) == Names{kLibrary, "libnccl.so.2"});
  CHECK(needed_cuda_libraries(NEEDS_CUBLAS_PATH, {.cudnn = true}) == Names{kLibrary, "libcudnn.so.9"});
  CHECK(needed_cuda_libraries(STAND_IN_PATH).empty());
}

TEST_CASE("cuDNN that is missing is refused with the name of its wheel") {
  CHECK_THROWS_WITH(missing_cuda_library(kCudnnLibrary, {}),
                    Contains("libcudnn.so.9 is not there") && Contains("pip install nvidia-cudnn-cu13"));
}

TEST_CASE("a backend in its build folder knows the toolkit that it was linked with, wherever that is") {
  const test::EnvironmentVariable module("DDP_CUDA_MODULE", NEEDS_CUBLAS_PATH);
  const std::vector<fs::path> folders = cuda_library_places("/nowhere/bin").built_with;
  CHECK(std::count(folders.begin(), folders.end(), fs::path("/nowhere/toolkit/lib64")) == 1);
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

TEST_CASE("a library that does not open is passed over, and the reason told when none does") {
  const test::TemporaryFolder folder;
  const fs::path broken = folder.path / "given" / kLibrary;
  fs::create_directories(broken.parent_path());
  std::ofstream(broken) << "not a library";
  CudaLibraryPlaces places = {.given = {broken.parent_path()},
                              .built_with = {},
                              .toolkit = folder.path / "none",
                              .site_packages = {},
                              .conda = {}};
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
