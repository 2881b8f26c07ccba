// NEEDS_CUBLAS_98 and 99 are backends of series that no machine has; STAND_IN_DRIVER is a libcuda.so.1.
#include <dlfcn.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "runtime/base/cuda_module.h"
#include "runtime/base/error.h"
#include "tests/support/environment.h"
#include "tests/support/temporary_folder.h"

using namespace ddp;
using Catch::Contains;
namespace fs = std::filesystem;

namespace {

const std::vector<CudaModule> kBoth = {{.path = "libddp-cuda13.so", .series = 13},
                                       {.path = "libddp-cuda12.so", .series = 12}};

std::vector<int> series_of(const std::vector<CudaModule>& modules) {
  std::vector<int> out;
  for (const CudaModule& module : modules) out.push_back(module.series);
  return out;
}

std::string refusal(const std::vector<CudaModule>& modules, std::optional<int> driver) {
  try {
    modules_of_driver(modules, driver);
  } catch (const Error& error) {
    CHECK(error.code() == ExitCode::usage);
    CHECK_THAT(error.what(), !Contains("\n") && Contains("--device cpu"));
    return error.what();
  }
  return "it is usable";
}

}  // namespace

TEST_CASE("a backend tells its series, what it needs and where that was") {
  const CudaModule module = read_cuda_module(NEEDS_CUBLAS_99);
  CHECK(module.series == 99);
  CHECK(module.built == "nothing for sm_00");
  CHECK(module.needed == std::vector<std::string>{"libcublasLt.so.99"});
  const auto is_place = [&](const fs::path& folder) {
    return std::count(module.places.begin(), module.places.end(), folder) == 1;
  };
  const fs::path folder = fs::path(NEEDS_CUBLAS_99).parent_path();
  CHECK(is_place("/nowhere/toolkit/lib64"));
  CHECK(is_place(folder.parent_path() / "toolkit/lib64"));  // of the $ORIGIN's neighbour
  CHECK(!is_place(folder));
  CHECK(read_cuda_module(CUBLAS_99).series == 0);
  CHECK(read_cuda_module(CUBLAS_99).built.empty());
}

TEST_CASE("a run needs NVIDIA's libraries that its backend is linked with, and those that it opens itself") {
  using Names = std::vector<std::string>;
  const CudaModule module = read_cuda_module(NEEDS_CUBLAS_99);
  CHECK(module.libraries({}) == Names{"libcublasLt.so.99"});
  CHECK(module.libraries({.nccl = true}) == Names{"libcublasLt.so.99", "libnccl.so.2"});
  CHECK(module.libraries({.cudnn = true}) == Names{"libcublasLt.so.99", "libcudnn.so.9"});
  CHECK(read_cuda_module(CUBLAS_99).libraries({}).empty());
}

TEST_CASE("what a backend needs and has beside it is its own") {
  const test::TemporaryFolder folder;
  fs::copy_file(STAND_IN_DRIVER, folder.path / "module.so");
  CHECK(read_cuda_module(folder.path / "module.so").own.empty());
  std::ofstream(folder.path / "libc.so.6") << "as a bundle has libcudart.so.12";
  CHECK(read_cuda_module(folder.path / "module.so").own == std::vector<fs::path>{folder.path / "libc.so.6"});
}

TEST_CASE("a driver runs the backends of its series and of older ones") {
  CHECK(series_of(modules_of_driver(kBoth, 13010)) == std::vector{13, 12});
  CHECK(series_of(modules_of_driver(kBoth, 13000)) == std::vector{13, 12});
  CHECK(series_of(modules_of_driver(kBoth, 12090)) == std::vector{12});
  CHECK(series_of(modules_of_driver(kBoth, 12060)) == std::vector{12});
  CHECK(series_of(modules_of_driver(kBoth, 12000)) == std::vector{12});
}

TEST_CASE("a driver that runs none of the backends is refused with both versions") {
  CHECK_THAT(refusal(kBoth, 11080), Contains("supports CUDA 11.8") && Contains("needs 12.0") && Contains("525"));
  CHECK_THAT(refusal({kBoth.front()}, 12060), Contains("supports CUDA 12.6") && Contains("needs 13.0") &&
                                                  Contains("580") && Contains("libddp-cuda12.so"));
  CHECK_THAT(refusal({kBoth.front()}, 11080), !Contains("libddp-cuda12.so"));
  CHECK_THAT(refusal(kBoth, std::nullopt), Contains("no NVIDIA driver"));
}

TEST_CASE("a program's backends lie beside it or in ../lib, the newest first, and the driver's libcuda.so.1 is asked") {
  const test::TemporaryFolder folder;
  const test::EnvironmentVariable none("DDP_CUDA_MODULE", std::nullopt);
  const fs::path bin = folder.path / "bin", lib = folder.path / "lib";
  fs::create_directories(bin);
  fs::create_directories(lib);
  CHECK_THROWS_WITH(usable_cuda_modules(bin),
                    Contains("no CUDA backend: " + (bin / "libddp-cuda13.so").string() + " is not there"));
  fs::copy_file(NEEDS_CUBLAS_98, bin / "libddp-cuda12.so");
  fs::copy_file(NEEDS_CUBLAS_99, lib / "libddp-cuda13.so");
  REQUIRE(::dlopen(STAND_IN_DRIVER, RTLD_NOW) != nullptr);  // from now on its name is enough
  const auto usable = [&](const std::string& driver) {
    const test::EnvironmentVariable version("STAND_IN_DRIVER", driver);
    return series_of(usable_cuda_modules(bin));
  };
  CHECK(usable("99000") == std::vector{99, 98});
  CHECK(usable("98060") == std::vector{98});
  CHECK_THROWS_WITH(usable("97080"), Contains("supports CUDA 97.8") && Contains("needs 98.0"));
}

TEST_CASE("$DDP_CUDA_MODULE is taken whatever the driver is") {
  const test::EnvironmentVariable module("DDP_CUDA_MODULE", NEEDS_CUBLAS_99);
  CHECK(series_of(usable_cuda_modules("/nowhere")) == std::vector{99});
  const test::EnvironmentVariable missing("DDP_CUDA_MODULE", "/nowhere/module.so");
  CHECK_THROWS_WITH(usable_cuda_modules("/nowhere"), Contains("no CUDA backend: /nowhere/module.so is not there"));
}

TEST_CASE("an empty $DDP_CUDA_MODULE names nothing") {
  const test::TemporaryFolder folder;
  fs::copy_file(NEEDS_CUBLAS_99, folder.path / "libddp-cuda13.so");
  const test::EnvironmentVariable module("DDP_CUDA_MODULE", "");
  CHECK(series_of(cuda_modules(folder.path)) == std::vector{99});
  CHECK_THROWS_WITH(cuda_modules("/nowhere"), Contains("no CUDA backend: /nowhere/libddp-cuda13.so is not there"));
}

TEST_CASE("a backend that cannot be looked at is not there") {
  const test::TemporaryFolder folder;
  fs::create_symlink("loop", folder.path / "loop");
  for (const std::string& name : {folder.path.string() + "/loop", "/" + std::string(300, 'a')}) {
    const test::EnvironmentVariable module("DDP_CUDA_MODULE", name);
    CHECK_THROWS_WITH(cuda_modules("/nowhere"), Contains("no CUDA backend: " + name + " is not there"));
  }
}
