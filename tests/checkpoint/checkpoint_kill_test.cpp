// SIGKILL before each system call of a commit: what had been committed stays, and stays whole.
#include <unistd.h>

#include "runtime/base/run_files.h"
#include "tests/checkpoint/fixture.h"
#include "tests/checkpoint/traced.h"

namespace ddp {
namespace {

namespace fs = std::filesystem;
using test::End;

TEST_CASE("a writer killed before any of its system calls leaves every earlier checkpoint whole") {
  const bool in_memory = ::access("/dev/shm", W_OK) == 0;  // where an fsync costs nothing, and there are thousands
  const test::TemporaryFolder folder(in_memory ? "/dev/shm" : fs::temp_directory_path());
  const fs::path before = folder.path / "before", checkpoints = folder.path / "checkpoints";
  test::SmallRun run;
  for (int64_t step : {1, 2}) write_checkpoint(before, run.content(step), 2);

  const int64_t step = GENERATE(2, 3);  // replaces step 2, or pushes out step 1
  const int64_t keep = 4 - step;
  End end = End::killed;
  int call = 0;
  for (; end == End::killed; ++call) {
    fs::copy(before, checkpoints, fs::copy_options::recursive);
    end = test::run_until_call(call, [&] { write_checkpoint(checkpoints, run.content(step), keep); });
    recover_checkpoints(checkpoints);
    INFO("step " << step << ", system call " << call);
    const std::vector<Checkpoint> left = list_checkpoints(checkpoints);
    REQUIRE_FALSE(left.empty());
    CHECK(left.back().step >= 2);
    for (const Checkpoint& c : left) CHECK_NOTHROW(verify_checkpoint(c.path));
    for (const auto& entry : fs::directory_iterator(checkpoints))
      CHECK(entry.path().filename().string().starts_with("step-"));
    fs::remove_all(checkpoints);
  }
  if (end == End::untraceable) {
    WARN("this machine forbids ptrace: not tested");
  } else {
    CHECK(call > 30);
  }
}

TEST_CASE("whoever is killed before any system call of linking the best leaves the old best or the new one, whole") {
  const bool in_memory = ::access("/dev/shm", W_OK) == 0;
  const test::TemporaryFolder folder(in_memory ? "/dev/shm" : fs::temp_directory_path());
  const fs::path before = folder.path / "before", checkpoints = folder.path / "checkpoints";
  test::SmallRun run;
  for (int64_t step : {1, 2}) write_checkpoint(before, run.content(step), 2);
  const bool has_old = GENERATE(false, true);
  if (has_old) link_checkpoint(before / step_name(1), before / kBestName);

  End end = End::killed;
  int call = 0;
  bool was_new = false;
  for (; end == End::killed; ++call) {
    fs::copy(before, checkpoints, fs::copy_options::recursive);
    end = test::run_until_call(call, [&] { link_checkpoint(checkpoints / step_name(2), checkpoints / kBestName); });
    INFO((has_old ? "in place of an old one" : "the first one") << ", system call " << call);
    const auto check = [&](bool may_be_none) {
      const std::optional<Checkpoint> best = find_best(checkpoints);
      if (!best) {
        CHECK(may_be_none);
        return;
      }
      CHECK((best->step == 2 || (has_old && best->step == 1)));
      CHECK_NOTHROW(verify_checkpoint(best->path));
      CHECK((best->step == 2 || !was_new));
      was_new |= best->step == 2;
    };
    check(true);  // as a reader of a live run sees it
    recover_checkpoints(checkpoints);
    check(!has_old);
    for (const Checkpoint& c : list_checkpoints(checkpoints)) CHECK_NOTHROW(verify_checkpoint(c.path));
    CHECK(std::distance(fs::directory_iterator(checkpoints), fs::directory_iterator()) ==
          (find_best(checkpoints) ? 3 : 2));
    fs::remove_all(checkpoints);
  }
  if (end == End::untraceable) {
    WARN("this machine forbids ptrace: not tested");
  } else {
    CHECK(was_new);
    CHECK(call > 15);
  }
}

}  // namespace
}  // namespace ddp
