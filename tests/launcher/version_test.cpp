// NEEDS_CUBLAS_98 and 99 are backends of series that no machine has, CUBLAS_98 is the library of one; STAND_IN_DRIVER
// is a libcuda.so.1.
#include <dlfcn.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "launcher/version.h"
#include "tests/support/environment.h"
#include "tests/support/temporary_folder.h"

using namespace ddp;
using Catch::Contains;
namespace fs = std::filesystem;

TEST_CASE("the version names the commit") {
  CHECK(version_line().starts_with("ddp-launch "));
  CHECK_THAT(version_line(), Contains(commit()) && !Contains("@"));
}

TEST_CASE("the version as JSON tells what was built, what is found, and which backend would be taken") {
  const test::TemporaryFolder folder;
  const fs::path rank = folder.path / "bin/ddp-rank", older = folder.path / "lib/libddp-cuda12.so";
  fs::create_directories(folder.path / "bin");
  fs::create_directories(folder.path / "lib");
  std::ofstream(rank) << "#!/bin/sh\n";
  fs::permissions(rank, fs::perms::owner_all);
  fs::copy_file(NEEDS_CUBLAS_99, folder.path / "lib/libddp-cuda13.so");
  fs::copy_file(NEEDS_CUBLAS_98, older);
  fs::create_directories(folder.path / "nvidia");
  for (const char* library : {"libnccl.so.2", "libcudnn.so.9"}) std::ofstream(folder.path / "nvidia" / library) << "";
  fs::copy_file(CUBLAS_98, folder.path / "nvidia/libcublasLt.so.98");
  REQUIRE(::dlopen(STAND_IN_DRIVER, RTLD_NOW) != nullptr);  // from now on its name is enough
  const test::EnvironmentVariable program("DDP_RANK", rank), libraries("DDP_CUDA_LIBRARIES", folder.path / "nvidia"),
      module("DDP_CUDA_MODULE", std::nullopt), path("PATH", "/nowhere"), driver("STAND_IN_DRIVER", "99010");

  const auto json = nlohmann::json::parse(version_json());
  CHECK(json.at("commit") == commit());
  CHECK(json.at("compiler").get<std::string>().starts_with("g++ "));
  CHECK(json.at("cpu").at("rank_program") == rank.string());
  const auto& cuda = json.at("cuda");
  CHECK(cuda.at("driver") == "99.1");
  REQUIRE(cuda.at("modules").size() == 2);
  CHECK(cuda.at("modules")[0].at("libraries").at("libcublasLt.so.99").is_null());
  CHECK(cuda.at("modules")[1].at("series") == 98);
  CHECK(cuda.at("modules")[1].at("built") == "nothing for sm_00");
  CHECK(cuda.at("modules")[1].at("libraries").at("libcublasLt.so.98") ==
        (folder.path / "nvidia/libcublasLt.so.98").string());
  CHECK(cuda.at("chosen") == older.string());
  CHECK(!cuda.contains("why_not"));
}

TEST_CASE("the version as JSON says why there is no CUDA backend, or no ddp-rank") {
  const test::TemporaryFolder folder;
  const fs::path rank = folder.path / "bin/ddp-rank";
  const test::EnvironmentVariable program("DDP_RANK", rank), module("DDP_CUDA_MODULE", std::nullopt);
  const auto without_rank = nlohmann::json::parse(version_json());
  CHECK(without_rank.at("cpu").at("rank_program").is_null());
  CHECK_THAT(without_rank.at("cpu").at("why_not").get<std::string>(), Contains("cannot execute " + rank.string()));
  fs::create_directories(rank.parent_path());
  std::ofstream(rank) << "#!/bin/sh\n";
  fs::permissions(rank, fs::perms::owner_all);
  const auto without_module = nlohmann::json::parse(version_json());
  CHECK(without_module.at("cuda").at("chosen").is_null());
  CHECK_THAT(without_module.at("cuda").at("why_not").get<std::string>(), Contains("no CUDA backend"));
}
