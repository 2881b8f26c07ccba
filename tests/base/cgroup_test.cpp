// The limits of a process's cgroup, read from folders made up as each version of the interface shows them.
#include "runtime/base/cgroup.h"

#include <catch2/catch.hpp>
#include <fstream>

#include "runtime/base/cores.h"
#include "tests/support/temporary_folder.h"

using namespace ddp;

namespace {

namespace fs = std::filesystem;

class Cgroups {
 public:
  explicit Cgroups(const std::string& membership) { write("self", membership); }
  void write(const std::string& name, const std::string& text) const {
    const fs::path file = folder_.path / name;
    fs::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  CgroupPlaces places() const { return {folder_.path / "fs", folder_.path / "self"}; }

 private:
  test::TemporaryFolder folder_;
};

}  // namespace

TEST_CASE("a quota of CPU time counts as cores, rounded up") {
  const auto [text, cores] =
      GENERATE(table<std::string, std::optional<int>>({{"max 100000\n", std::nullopt},
                                                       {"200000 100000\n", 2},
                                                       {"150000 100000\n", 2},
                                                       {"100001 100000\n", 2},
                                                       {"50000 100000\n", 1},
                                                       {"1 1000000\n", 1},
                                                       {"9223372036854775807 1\n", std::numeric_limits<int>::max()},
                                                       {"100000", std::nullopt},
                                                       {"0 100000", std::nullopt},
                                                       {"100000 0", std::nullopt},
                                                       {"-5 100000", std::nullopt},
                                                       {"1e5 100000", std::nullopt},
                                                       {"", std::nullopt}}));
  const Cgroups cgroups("0::/job\n");
  cgroups.write("fs/job/cpu.max", text);
  CHECK(cores_of_quota(cgroups.places()) == cores);
  CHECK(usable_cores(cgroups.places()) == std::min(allowed_cores(), cores.value_or(allowed_cores())));
}

TEST_CASE("the tightest quota of a cgroup and those above it counts, in either version") {
  const Cgroups v2("0::/a/b\n");
  v2.write("fs/a/b/cpu.max", "400000 100000\n");
  v2.write("fs/a/cpu.max", "300000 100000\n");
  v2.write("fs/elsewhere/cpu.max", "100000 100000\n");
  CHECK(cores_of_quota(v2.places()) == 3);
  v2.write("fs/cpu.max", "200000 100000\n");  // a container sees its own cgroup as the root
  CHECK(cores_of_quota(v2.places()) == 2);

  const Cgroups v1("5:memory:/m\n4:cpuset:/\n3:cpu,cpuacct:/a/b\n0::/x\n");
  v1.write("fs/cpu,cpuacct/a/b/cpu.cfs_quota_us", "-1\n");
  v1.write("fs/cpu,cpuacct/a/b/cpu.cfs_period_us", "100000\n");
  CHECK(cores_of_quota(v1.places()) == std::nullopt);
  v1.write("fs/cpu,cpuacct/a/cpu.cfs_quota_us", "250000\n");
  v1.write("fs/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n");
  CHECK(cores_of_quota(v1.places()) == 3);
  v1.write("fs/cpu/cpu.cfs_quota_us", "50000\n");
  v1.write("fs/cpu/cpu.cfs_period_us", "50000\n");
  CHECK(cores_of_quota(v1.places()) == 1);
  v1.write("fs/unified/x/cpu.max", "100000 100000\n");
  CHECK(cores_of_quota(v1.places()) == 1);
}

TEST_CASE("where no cgroup is shown, nothing is limited") {
  const Cgroups cgroups(GENERATE("", "nonsense", "0", ":", "3:cpu\n", "0::/../..\n", "0::/not/mounted\n"));
  CHECK(cores_of_quota(cgroups.places()) == std::nullopt);
  CHECK(usable_cores(cgroups.places()) == allowed_cores());
  CHECK_FALSE(reached_task_limit(cgroups.places()));
  CHECK(usable_cores({"/nowhere", "/nowhere/self"}) == allowed_cores());
}

TEST_CASE("of the limits on processes and threads the one that is reached is named") {
  const Cgroups cgroups(GENERATE("0::/a/b\n", "7:pids:/a/b\n"));
  for (const std::string& base : {std::string("fs/"), std::string("fs/pids/")}) {
    cgroups.write(base + "a/b/pids.max", "max\n");
    cgroups.write(base + "a/b/pids.current", "30\n");
    cgroups.write(base + "a/pids.max", "31\n");
    cgroups.write(base + "a/pids.current", "30\n");
  }
  CHECK_FALSE(reached_task_limit(cgroups.places()));
  for (const std::string& base : {std::string("fs/"), std::string("fs/pids/")})
    cgroups.write(base + "a/pids.current", "31\n");
  const auto reached = reached_task_limit(cgroups.places());
  REQUIRE(reached);
  CHECK(reached->most == 31);
  CHECK(reached->file.string().ends_with("/a/pids.max"));
}

TEST_CASE("threads are pinned where they are as many as the cores and no quota takes some of these away") {
  CHECK(should_pin(4, 4, 4));
  CHECK_FALSE(should_pin(3, 4, 4));
  CHECK_FALSE(should_pin(5, 4, 4));
  CHECK_FALSE(should_pin(4, 4, 3));
  CHECK_FALSE(should_pin(3, 4, 3));
}
