// NEEDS_CUBLAS_PATH is a backend that needs a cuBLASLt of a version that no machine has; STAND_IN_PATH is that library.
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <optional>

#include "launcher/cuda_search.h"
#include "runtime/base/error.h"
#include "runtime/base/fs.h"
#include "tests/support/environment.h"
#include "tests/support/temporary_folder.h"

using namespace ddp;
using Catch::Contains;
namespace fs = std::filesystem;

namespace {

constexpr const char* kLibrary = "libcublasLt.so.99";

// A machine with the backend, a python3 on PATH, and NVIDIA's library where a test puts it.
class Machine {
 public:
  Machine() {
    fs::create_directories(root() / "bin");
    set("DDP_CUDA_MODULE", NEEDS_CUBLAS_PATH);
    set("PATH", (root() / "bin").string() + ":/usr/bin:/bin");
    for (const char* name : {"DDP_CUDA_LIBRARIES", "DDP_SITE_PACKAGES", "VIRTUAL_ENV", "CONDA_PREFIX"}) unset(name);
  }

  const fs::path& root() const { return folder_.path; }
  void set(const char* name, const std::string& value) { variables_.emplace_back(name, value); }
  void unset(const char* name) { variables_.emplace_back(name, std::nullopt); }
  void put_library(const fs::path& folder) const {
    fs::create_directories(root() / folder);
    fs::copy_file(STAND_IN_PATH, root() / folder / kLibrary);
  }
  // A python3 that notes its call in "asked" and prints these as its sys.path.
  void put_python(const fs::path& folder, const std::vector<std::string>& sys_path, const std::string& name) const {
    fs::create_directories(root() / folder);
    std::ofstream script(root() / folder / "python3");
    script << "#!/bin/sh\necho " << name << " >>'" << (root() / "asked").string() << "'\n";
    for (const std::string& path : sys_path) script << "echo '" << path << "'\n";
    script.close();
    fs::permissions(root() / folder / "python3", fs::perms::owner_all);
  }
  std::string asked() const { return fs::exists(root() / "asked") ? read_text(root() / "asked") : ""; }
  std::string search() const { return search_cuda_libraries(root() / "site/ddp_launch/bin/ddp-rank", {}); }
  std::string refusal() const {
    try {
      search();
    } catch (const Error& error) {
      CHECK(error.code() == ExitCode::usage);
      return error.what();
    }
    return "it was found";
  }

 private:
  test::TemporaryFolder folder_;
  std::vector<test::EnvironmentVariable> variables_;
};

}  // namespace

TEST_CASE("Python is not asked where CUDA's libraries are found without it") {
  Machine machine;
  machine.put_python("bin", {}, "python");
  SECTION("named by the user") {
    machine.put_library("given");
    machine.set("DDP_CUDA_LIBRARIES",
                (machine.root() / "nothing").string() + ":" + (machine.root() / "given").string());
  }
  SECTION("in wheels beside this package") { machine.put_library("site/nvidia/cublas/lib"); }
  SECTION("in conda's lib") {
    machine.put_library("conda/lib");
    machine.set("CONDA_PREFIX", machine.root() / "conda");
  }
  CHECK(machine.search().empty());
  CHECK(machine.asked().empty());
}

TEST_CASE("Python says where its wheels are: of the active environment first, then of PATH") {
  Machine machine;
  machine.put_library("wheels of 13/nvidia/cu13/lib");
  const std::string wheels = machine.root() / "wheels of 13";
  machine.set("VIRTUAL_ENV", machine.root() / "venv");
  machine.set("CONDA_PREFIX", machine.root() / "conda");
  SECTION("the environment has them") {
    machine.put_python("venv/bin", {"", "/usr/lib/python3", wheels}, "venv");
    machine.put_python("bin", {wheels}, "python");
    CHECK(machine.search() == wheels);
    CHECK(machine.asked() == "venv\n");
  }
  SECTION("it has not") {
    machine.put_python("venv/bin", {"/usr/lib/python3"}, "venv");
    machine.put_python("bin", {wheels}, "python");
    CHECK(machine.search() == wheels);
    CHECK(machine.asked() == "venv\npython\n");
  }
}

TEST_CASE("a library that is nowhere is refused in one line, with where it was looked for and what installs it") {
  Machine machine;
  machine.put_python("bin", {"/usr/lib/python3"}, "python");
  machine.set("CONDA_PREFIX", machine.root() / "conda");
  const std::string text = machine.refusal();
  CHECK_THAT(text, Contains(kLibrary) && Contains("/usr/local/cuda/lib64") && Contains("nvidia/*/lib") &&
                       Contains((machine.root() / "conda/lib").string()) && Contains("pip install nvidia-cublas") &&
                       Contains("DDP_CUDA_LIBRARIES") && !Contains("\n"));
}
