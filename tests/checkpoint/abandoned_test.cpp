// Going back to an earlier checkpoint moves the later ones away, and loses none of them whatever happens.
#include "runtime/checkpoint/abandoned.h"

#include <unistd.h>

#include <algorithm>

#include "tests/checkpoint/fixture.h"
#include "tests/checkpoint/traced.h"

namespace ddp {
namespace {

namespace fs = std::filesystem;
using test::End;
using test::SmallRun;

constexpr const char* kLines = "{\"type\":\"step\",\"step\":11}\n";

std::vector<int64_t> steps_in(const fs::path& folder) {
  std::vector<int64_t> steps;
  for (const Checkpoint& c : list_checkpoints(folder)) steps.push_back(c.step);
  return steps;
}

void commit(const fs::path& folder, std::initializer_list<int64_t> steps) {
  SmallRun run;
  for (const int64_t step : steps) write_checkpoint(folder, run.content(step), 10);
}

std::vector<fs::path> abandoned_in(const fs::path& folder) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().filename().string().starts_with("abandoned-")) found.push_back(entry.path());
  return found;
}

TEST_CASE("later checkpoints are moved away whole, with the metrics that go with them") {
  test::TemporaryFolder folder;
  commit(folder.path, {10, 20, 30});
  test::flip_bit(folder.path / "step-00000030" / kModelFile, 200);  // a damaged one goes along
  const auto left = abandon_later_checkpoints(folder.path, 10, kLines);
  REQUIRE(left);
  CHECK(left->num_checkpoints == 2);
  CHECK(left->folder.filename().string().starts_with("abandoned-10-20"));
  CHECK(left->folder.filename().string().ends_with("Z"));
  int64_t bytes = 0;
  for (const char* step : {"step-00000020", "step-00000030"})
    for (const auto& file : fs::directory_iterator(left->folder / step)) bytes += int64_t(file.file_size());
  CHECK(left->bytes == bytes);
  CHECK(read_text(left->folder / "metrics.jsonl") == kLines);
  CHECK(steps_in(folder.path) == std::vector<int64_t>{10});
  CHECK(steps_in(left->folder) == std::vector<int64_t>{20, 30});
  verify_checkpoint(left->folder / "step-00000020");

  // What a run does from then on leaves them alone.
  recover_checkpoints(folder.path);
  SmallRun run;
  for (const int64_t step : {15, 25, 35}) write_checkpoint(folder.path, run.content(step), 1);
  CHECK(steps_in(folder.path) == std::vector<int64_t>{35});
  CHECK(steps_in(left->folder) == std::vector<int64_t>{20, 30});
  const auto newest = find_newest_verified(folder.path, [](const std::string&) {});
  REQUIRE(newest);
  CHECK(newest->step == 35);
}

TEST_CASE("a best of a later step goes along, and is counted where it is not the second name of another") {
  test::TemporaryFolder folder;
  commit(folder.path, {10, 20});
  const fs::path best = folder.path / "best";
  link_checkpoint(folder.path / "step-00000010", best);
  REQUIRE(abandon_later_checkpoints(folder.path, 10, kLines));
  CHECK(find_best(folder.path)->step == 10);
  commit(folder.path, {20, 30});
  link_checkpoint(folder.path / "step-00000020", best);
  const auto with_its_step = abandon_later_checkpoints(folder.path, 10, kLines);
  REQUIRE(with_its_step);
  CHECK(with_its_step->num_checkpoints == 2);
  CHECK_FALSE(find_best(folder.path));
  CHECK(verify_checkpoint(with_its_step->folder / "best").state.step() == 20);
  fs::rename(with_its_step->folder / "best", best);  // alone: its step's folder made room for newer ones
  CHECK(has_later_checkpoints(folder.path, 19));
  CHECK_FALSE(has_later_checkpoints(folder.path, 20));
  const auto alone = abandon_later_checkpoints(folder.path, 10, kLines);
  REQUIRE(alone);
  CHECK(alone->num_checkpoints == 1);
  CHECK(alone->bytes > 0);
  CHECK_FALSE(find_best(folder.path));
}

TEST_CASE("where nothing is later nothing is done, whatever the metrics") {
  test::TemporaryFolder folder;
  CHECK_FALSE(abandon_later_checkpoints(folder.path / "none", 0, kLines));
  commit(folder.path, {10, 20});
  CHECK_FALSE(abandon_later_checkpoints(folder.path, 20, kLines));
  CHECK(abandoned_in(folder.path).empty());
}

TEST_CASE("going back twice within a second makes two folders") {
  test::TemporaryFolder folder;
  for (int n = 1; n <= 3; ++n) {
    commit(folder.path, {10, 20});
    CHECK(abandon_later_checkpoints(folder.path, 10, ""));
    CHECK(abandoned_in(folder.path).size() == size_t(n));
  }
  for (const fs::path& left : abandoned_in(folder.path)) {
    CHECK(steps_in(left) == std::vector<int64_t>{20});
    CHECK_FALSE(fs::exists(left / "metrics.jsonl"));
  }
}

TEST_CASE("an abandoned past knows where it forked, by any spelling, and only in its own run") {
  test::TemporaryFolder folder;
  const fs::path checkpoints = folder.path / "checkpoints";
  commit(checkpoints, {10, 20});
  const auto left = abandon_later_checkpoints(checkpoints, 10, kLines);
  REQUIRE(left);
  fs::create_directory_symlink(left->folder / "step-00000020", folder.path / "link");
  for (const std::string& spelling :
       {(left->folder / "step-00000020").string(), (left->folder / "step-00000020/").string(),
        (checkpoints / "." / ".." / "checkpoints" / left->folder.filename() / "step-00000020").string(),
        (folder.path / "link").string()}) {
    INFO(spelling);
    const auto past = abandoned_past(spelling, checkpoints);
    REQUIRE(past);
    CHECK(past->forked_at == 10);
    CHECK(fs::equivalent(past->metrics, left->folder / "metrics.jsonl"));
  }
  CHECK_FALSE(abandoned_past(checkpoints / "step-00000010", checkpoints));
  CHECK_FALSE(abandoned_past(left->folder / "step-00000020", folder.path));
  CHECK_FALSE(abandoned_past("auto", checkpoints));
}

TEST_CASE("who is killed before any system call of moving them away loses none, and the past is found") {
  const bool in_memory = ::access("/dev/shm", W_OK) == 0;  // where an fsync costs nothing, and there are hundreds
  const test::TemporaryFolder folder(in_memory ? "/dev/shm" : fs::temp_directory_path());
  const fs::path before = folder.path / "before", checkpoints = folder.path / "checkpoints";
  commit(before, {10, 20, 30});
  End end = End::killed;
  int call = 0;
  for (; end == End::killed; ++call) {
    INFO("system call " << call);
    fs::copy(before, checkpoints, fs::copy_options::recursive);
    end = test::run_until_call(call, [&] { abandon_later_checkpoints(checkpoints, 10, kLines); });
    recover_checkpoints(checkpoints);
    std::vector<int64_t> all = steps_in(checkpoints);
    const auto newest = find_newest_verified(checkpoints, [](const std::string& text) { FAIL(text); });
    REQUIRE(newest);
    CHECK(newest->step == 10 * int64_t(all.size()));  // without a hole
    for (const fs::path& left : abandoned_in(checkpoints)) {
      const std::vector<int64_t> moved = steps_in(left);
      for (const Checkpoint& c : list_checkpoints(left)) CHECK_NOTHROW(verify_checkpoint(c.path));
      if (!moved.empty()) CHECK(read_text(left / "metrics.jsonl") == kLines);
      all.insert(all.end(), moved.begin(), moved.end());
    }
    std::sort(all.begin(), all.end());
    CHECK(all == std::vector<int64_t>{10, 20, 30});
    fs::remove_all(checkpoints);
  }
  if (end == End::untraceable) {
    WARN("this machine forbids ptrace: not tested");
  } else {
    CHECK(call > 10);
  }
}

}  // namespace
}  // namespace ddp
