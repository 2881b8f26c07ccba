// CUBLAS_98 is a library that says as cuDNN does that it is of series 98.
#include <dlfcn.h>
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "runtime/base/cuda_wheels.h"
#include "tests/support/temporary_folder.h"

using namespace ddp;
namespace fs = std::filesystem;

namespace {

// A site-packages with cuDNN of 12 and of 13, as far as wheels are installed in it.
class SitePackages {
 public:
  // As pip does: files of another wheel in the same place are overwritten, its record stays.
  void install(int series, const std::string& bytes, const std::string& line_end = "\n") const {
    const fs::path dist_info = root() / fmt::format("nvidia_cudnn_cu{}-9.5.1.17.dist-info", series);
    fs::create_directories(library().parent_path());
    fs::create_directories(dist_info);
    std::ofstream(library()) << bytes;
    std::ofstream(dist_info / "RECORD") << "nvidia/cudnn/lib/libcudnn.so.9.1,sha256=ab,1" << line_end
                                        << "nvidia/cudnn/lib/libcudnn.so.9,sha256=cd," << bytes.size() << line_end;
  }
  fs::path library() const { return root() / "nvidia/cudnn/lib/libcudnn.so.9"; }
  const fs::path& root() const { return folder_.path; }

 private:
  test::TemporaryFolder folder_;
};

}  // namespace

TEST_CASE("the series of a wheel's library is that of the record which has its size") {
  const SitePackages site;
  CHECK(series_of_file(site.library()) == 0);
  site.install(12, "of twelve", "\r\n");
  CHECK(series_of_file(site.library()) == 12);
  site.install(13, "of thirteen");
  CHECK(series_of_file(site.library()) == 13);
  site.install(12, "of twelve");
  CHECK(series_of_file(site.library()) == 12);
  std::ofstream(site.library()) << "of nobody";
  std::ofstream(site.library(), std::ios::app) << " who tells";
  CHECK(series_of_file(site.library()) == 0);
}

TEST_CASE("a library that is a link, as of a cache that environments share, is known by its own place") {
  const SitePackages site;
  site.install(12, "of twelve");
  fs::create_directories(site.root() / "cache");
  fs::rename(site.library(), site.root() / "cache/file");
  fs::create_symlink(site.root() / "cache/file", site.library());
  CHECK(series_of_file(site.library()) == 12);
}

TEST_CASE("a library beside other wheels, or in no site-packages, is of no known series") {
  const SitePackages site;
  site.install(13, "of thirteen");
  const fs::path nccl = site.root() / "nvidia/nccl/lib/libnccl.so.2";
  fs::create_directories(nccl.parent_path());
  std::ofstream(nccl) << "of thirteen";
  CHECK(series_of_file(nccl) == 0);
  CHECK(series_of_file("/") == 0);
  CHECK(series_of_file("libnccl.so.2") == 0);
}

TEST_CASE("NCCL says of which series it is, wherever it lies") {
  const test::TemporaryFolder folder;
  const fs::path nccl = folder.path / kNcclLibrary;
  const std::string binary(100'000, '\1');
  const auto series_of = [&](const std::string& text) {
    std::ofstream(nccl) << binary << text << binary;
    return series_of_file(nccl);
  };
  CHECK(series_of("NCCL version 2.26.2+cuda12.2") == 12);
  CHECK(series_of("NCCL version mismatch with remote peer" + binary + "NCCL version 2.28.9+cuda13.0") == 13);
  CHECK(series_of("NCCL version 2.26.2" + binary + "+cuda12.2") == 0);
  CHECK(series_of("") == 0);
}

TEST_CASE("cuDNN says of which series it is once it is open") {
  void* library = ::dlopen(CUBLAS_98, RTLD_NOW | RTLD_LOCAL);
  REQUIRE(library != nullptr);
  CHECK(series_of_opened(library) == 98);
  ::dlclose(library);
}

TEST_CASE("the folders of wheels are in alphabetical order; without wheels there are none") {
  const SitePackages site;
  CHECK(wheel_folders(site.root()).empty());
  for (const char* part : {"nccl", "cublas"}) fs::create_directories(site.root() / "nvidia" / part);
  CHECK(wheel_folders(site.root()) ==
        std::vector<fs::path>{site.root() / "nvidia/cublas/lib", site.root() / "nvidia/nccl/lib"});
}

TEST_CASE("a wheel is named as pip knows it") {
  CHECK(wheel_of("libcublasLt.so.13", 13) == "nvidia-cublas");
  CHECK(wheel_of("libcublasLt.so.12", 12) == "nvidia-cublas-cu12");
  CHECK(wheel_of(kNcclLibrary, 12) == "nvidia-nccl-cu12");
  CHECK(wheel_of(kCudnnLibrary, 13) == "nvidia-cudnn-cu13");
  CHECK(is_of_a_wheel("libcublasLt.so.13"));
  CHECK(!is_of_a_wheel("libcudart.so.12"));
}
