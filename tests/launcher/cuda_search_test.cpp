// NEEDS_CUBLAS_99 is a backend that needs a cuBLASLt of a version that no machine has, CUBLAS_99 is that library, and
// likewise 98; STAND_IN_DRIVER is a libcuda.so.1.
#include <dlfcn.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <chrono>
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
constexpr const char* kNewer = "site/ddp_launch/lib/libddp-cuda13.so";
constexpr const char* kOlder = "site/ddp_launch/lib/libddp-cuda12.so";

// A machine with the backend, a python3 on PATH, and NVIDIA's library where a test puts it.
class Machine {
 public:
  Machine() {
    fs::create_directories(root() / "bin");
    set("DDP_CUDA_MODULE", NEEDS_CUBLAS_99);
    set("PATH", (root() / "bin").string() + ":/usr/bin:/bin");
    for (const char* name : {"DDP_CUDA_LIBRARIES", "DDP_SITE_PACKAGES", "VIRTUAL_ENV", "CONDA_PREFIX"}) unset(name);
  }

  const fs::path& root() const { return folder_.path; }
  void set(const char* name, const std::string& value) { variables_.emplace_back(name, value); }
  void unset(const char* name) { variables_.emplace_back(name, std::nullopt); }
  void put_library(const fs::path& folder) const { put(CUBLAS_99, root() / folder / kLibrary); }
  void put_older_library(const fs::path& folder) const { put(CUBLAS_98, root() / folder / "libcublasLt.so.98"); }
  // Both backends in ../lib, and a driver that runs CUDA up to this version.
  void put_backends(const std::string& driver) {
    unset("DDP_CUDA_MODULE");
    put(NEEDS_CUBLAS_99, root() / kNewer);
    put(NEEDS_CUBLAS_98, root() / kOlder);
    REQUIRE(::dlopen(STAND_IN_DRIVER, RTLD_NOW) != nullptr);  // from now on its name is enough
    set("STAND_IN_DRIVER", driver);
  }
  // A python3 that is this shell script.
  void put_script(const fs::path& folder, const std::string& script) const {
    fs::create_directories(root() / folder);
    std::ofstream(root() / folder / "python3") << "#!/bin/sh\n" << script;
    fs::permissions(root() / folder / "python3", fs::perms::owner_all);
  }
  // A python3 that notes its call in "asked" and prints these as its sys.path.
  void put_python(const fs::path& folder, const std::vector<std::string>& sys_path, const std::string& name) const {
    std::string script = "echo " + name + " >>'" + (root() / "asked").string() + "'\n";
    for (const std::string& path : sys_path) script += "echo '" + path + "'\n";
    put_script(folder, script);
  }
  std::string asked() const { return fs::exists(root() / "asked") ? read_text(root() / "asked") : ""; }
  CudaChoice choose() const { return choose_cuda(root() / "site/ddp_launch/bin/ddp-rank", {}); }
  std::string search() const { return choose().site_packages; }
  // The backend that is chosen, as a path from the root.
  std::string chosen() const { return fs::relative(choose().module, root()).string(); }
  std::string refusal() const {
    try {
      choose();
    } catch (const Error& error) {
      CHECK(error.code() == ExitCode::usage);
      return error.what();
    }
    return "it was found";
  }

 private:
  static void put(const char* file, const fs::path& where) {
    fs::create_directories(where.parent_path());
    fs::copy_file(file, where);
  }

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

TEST_CASE("a place that cannot be looked into holds nothing") {
  Machine machine;
  const std::string loop = machine.root() / "loop", long_name = machine.root() / std::string(300, 'a');
  fs::create_symlink("loop", loop);
  for (const std::string& place : {loop, long_name}) {
    machine.put_python("bin", {place}, "python");
    machine.set("CONDA_PREFIX", place);
    machine.set("DDP_CUDA_LIBRARIES", place);
    machine.set("DDP_SITE_PACKAGES", place);
    CHECK_THAT(machine.refusal(), Contains(std::string(kLibrary) + " is not there"));
  }
}

TEST_CASE("a Python that prints without end is not listened to for long") {
  Machine machine;
  machine.put_script("bin", "exec yes hello\n");
  const auto begin = std::chrono::steady_clock::now();
  CHECK_THAT(machine.refusal(), Contains(std::string(kLibrary) + " is not there"));
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(5));
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

TEST_CASE("the newest backend that the driver runs and whose libraries are there is chosen") {
  Machine machine;
  SECTION("a driver of the newer series") {
    machine.put_backends("99010");
    machine.put_older_library("site/nvidia/cublas/lib");
    SECTION("has libraries of the older one alone") { CHECK(machine.chosen() == kOlder); }
    SECTION("has libraries of both") {
      machine.put_library("site/nvidia/cu99/lib");
      CHECK(machine.chosen() == kNewer);
    }
    SECTION("has those of the newer in Python alone") {
      machine.put_library("wheels/nvidia/cu99/lib");
      machine.put_python("bin", {machine.root() / "wheels"}, "python");
      CHECK(machine.chosen() == kNewer);
      CHECK(machine.search() == machine.root() / "wheels");
    }
  }
  SECTION("a driver of the older series, beside libraries of both") {
    machine.put_backends("98000");
    machine.put_library("site/nvidia/cu99/lib");
    machine.put_older_library("site/nvidia/cublas/lib");
    CHECK(machine.chosen() == kOlder);
  }
}

TEST_CASE("where no backend has its libraries Python is asked once, and the newest is told") {
  Machine machine;
  machine.put_backends("99010");
  machine.put_python("bin", {"/usr/lib/python3"}, "python");
  CHECK_THAT(machine.refusal(), Contains(std::string(kLibrary) + " is not there"));
  CHECK(machine.asked() == "python\n");
}

TEST_CASE("what a Python starts, and never ends, ends with the search") {
  Machine machine;
  fs::create_directories(machine.root() / "bin");
  const fs::path python = machine.root() / "bin/python3", pid = machine.root() / "pid";
  std::ofstream(python) << "#!/bin/sh\nsleep 600 >/dev/null &\necho $! >'" << pid.string() << "'\n";
  fs::permissions(python, fs::perms::owner_all);
  CHECK_THAT(machine.refusal(), Contains("is not there"));
  const std::string started = read_text(pid);
  const auto is_over = [&] {
    const std::string stat = "/proc/" + started.substr(0, started.size() - 1) + "/stat";
    return !fs::exists(stat) || read_text(stat).find(") Z ") != std::string::npos;  // whose reaper is not ours
  };
  for (int tries = 0; tries < 500 && !is_over(); ++tries) ::usleep(10'000);
  CHECK(is_over());
}

TEST_CASE("a driver that is too old is refused before anything is looked for") {
  Machine machine;
  machine.put_backends("97080");
  machine.put_python("bin", {"/usr/lib/python3"}, "python");
  CHECK_THAT(machine.refusal(), Contains("supports CUDA 97.8") && Contains("needs 98.0"));
  CHECK(machine.asked().empty());
}
