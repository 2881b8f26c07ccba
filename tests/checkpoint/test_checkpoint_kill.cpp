// SIGKILL at arbitrary moments of a write, a replacement or a removal: what was reported committed stays, and stays
// whole.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/base/clock.h"
#include "tests/checkpoint/fixture.h"

namespace ddp {
namespace {

// Commits steps 1, 1, 2, 2, 3, ... for ever and reports each on `report`, as bytes.
[[noreturn]] void write_for_ever(const std::filesystem::path& folder, int report) {
  test::SmallRun run;
  for (int i = 2;; ++i) {
    write_checkpoint(folder, run.content(i / 2), 2);
    const auto step = static_cast<unsigned char>(i / 2);
    if (::write(report, &step, 1) != 1) ::_exit(1);
  }
}

// The last step reported by a writer that is killed `delay_ns` after its fourth report.
int64_t last_step_of_killed_writer(const std::filesystem::path& folder, int64_t delay_ns) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t writer = ::fork();
  REQUIRE(writer >= 0);
  if (writer == 0) write_for_ever(folder, ends[1]);
  ::close(ends[1]);
  const Fd reports(ends[0]);
  unsigned char step = 0;
  for (int i = 0; i < 4; ++i) REQUIRE(::read(reports.get(), &step, 1) == 1);
  for (const int64_t begin = monotonic_ns(); monotonic_ns() - begin < delay_ns;) continue;
  ::kill(writer, SIGKILL);
  REQUIRE(::waitpid(writer, nullptr, 0) == writer);
  while (::read(reports.get(), &step, 1) == 1) continue;
  return step;
}

TEST_CASE("a writer killed at any moment leaves every reported checkpoint whole") {
  test::TemporaryFolder folder;
  for (int64_t round = 0; round < 40; ++round) {
    const auto checkpoints = folder.path / std::to_string(round);
    const int64_t reported = last_step_of_killed_writer(checkpoints, round * 317'000);
    recover_checkpoints(checkpoints);
    INFO("round " << round << ", step " << reported);
    const auto newest = find_newest_verified(checkpoints, [](const std::string& warning) { FAIL_CHECK(warning); });
    REQUIRE(newest);
    CHECK(newest->step >= reported);
    for (const auto& entry : std::filesystem::directory_iterator(checkpoints))
      CHECK(entry.path().filename().string().starts_with("step-"));
  }
}

}  // namespace
}  // namespace ddp
