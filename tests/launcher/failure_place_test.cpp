// Where a real rank was when it died, as the launcher tells it: ddp-rank itself, killed in backward.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <nlohmann/json.hpp>

#include "runtime/base/clock.h"
#include "runtime/board/board.h"
#include "tests/launcher/launched.h"

using namespace ddp;

namespace {

constexpr double kPatienceMs = 60'000;

std::string proc(pid_t pid, const std::string& name) { return "/proc/" + std::to_string(pid) + "/" + name; }

// Of a file whose size is not known before it is read.
std::string text_of(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// The board of a run, as one of its ranks inherited it.
Board board_of(pid_t launcher) {
  const std::string children = text_of(proc(launcher, "task/" + std::to_string(launcher) + "/children"));
  const pid_t rank = std::stoi(children);
  constexpr std::string_view kName = "DDP_BOARD_FD=";
  const std::string environment = text_of(proc(rank, "environ"));
  const std::string number = environment.substr(environment.find(kName) + kName.size()).c_str();  // to its NUL
  return Board::attach(Fd(::open(proc(rank, "fd/" + number).c_str(), O_RDWR | O_CLOEXEC)));
}

// Stops the rank, and returns when its first thread, which writes its status, no longer runs.
void stop(pid_t pid) {
  REQUIRE(::kill(pid, SIGSTOP) == 0);
  const auto state = [&] {
    const std::string stat = text_of(proc(pid, "stat"));
    REQUIRE_FALSE(stat.empty());
    return stat[stat.rfind(')') + 2];
  };
  while (state() != 'T') ::poll(nullptr, 0, 1);
}

// Leaves the rank stopped in backward; false where it never was there.
bool stop_in_backward(const RankStatus& status) {
  const auto is_there = [&] { return Phase(status.phase.load()) == Phase::backward; };
  for (const int64_t begin = monotonic_ns(); ms_between(begin, monotonic_ns()) < kPatienceMs;) {
    if (!is_there()) continue;
    stop(pid_t(status.pid.load()));
    if (is_there()) return true;
    ::kill(pid_t(status.pid.load()), SIGCONT);
  }
  return false;
}

}  // namespace

TEST_CASE("a rank that is killed in backward is reported with its step, phase and bucket") {
  const Workplace place;
  Launched run(place,
               {"--nproc", "4", "--device", "cpu", "--set", "train.steps=1000000", "--set", "model.layers=24", "--set",
                "train.bucket_mb=0.002", "train.yaml"},
               Launched::Options{.script = {}, .rank_program = DDP_RANK_PATH});
  REQUIRE(run.prints("step 2/"));
  const Board board = board_of(run.pid());
  const RankStatus& status = board->ranks[2];
  REQUIRE(stop_in_backward(status));
  const int64_t step = status.step.load();
  const int32_t bucket = status.bucket.load();
  ::kill(pid_t(status.pid.load()), SIGKILL);
  CHECK(run.end() == 137);
  CHECK(step > 0);
  CHECK(bucket >= 0);
  CHECK_THAT(run.last_error_line(),
             Catch::StartsWith("FAILED rank 2 (cpu 2) step " + std::to_string(step) + " backward, bucket " +
                               std::to_string(bucket) + ": killed by SIGKILL; ranks 0,1,3 stopped in "));
  const nlohmann::json failure = nlohmann::json::parse(place.read("out/status.json"))["failure"];
  CHECK(failure["rank"] == 2);
  CHECK(failure["step"] == step);
  CHECK(failure["phase"] == "backward");
  CHECK(failure["bucket"] == bucket);
  CHECK(Launched::nothing_left());
}
