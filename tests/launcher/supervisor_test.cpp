// The policy of a run, played without processes: what happens goes in, what to do comes out.
#include <signal.h>

#include <catch2/catch.hpp>
#include <tuple>

#include "launcher/report.h"
#include "launcher/supervisor.h"

using namespace ddp;

namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int exited(int code) { return code << 8; }
constexpr int killed(int signal) { return signal; }

// Four ranks in step 7 of training, and a clock that the test moves.
struct Play {
  explicit Play(int num_ranks = 4) : views(size_t(num_ranks)), supervisor(num_ranks, limits(), 0) {
    for (RankView& view : views) view.phase = Phase::backward, view.step = 7, view.bucket = 3;
  }
  static SupervisorLimits limits() {
    SupervisorLimits l;
    l.hang_ns = 5000 * kMs;
    return l;
  }
  // The board's first-failure word is offered to a failing rank as the event loop does it.
  std::string exit(int rank, int status, bool oom = false) {
    if (Supervisor::is_failure(status, views[size_t(rank)].phase) && first_failure == 0)
      first_failure = uint32_t(rank) + 1;
    return shown(supervisor.on_exit({rank, status, oom}, views, first_failure, now));
  }
  // `after_ms` later.
  std::string signal(int signal, int64_t after_ms = 0) {
    now += after_ms * kMs;
    return shown(supervisor.on_signal(signal, now));
  }
  std::string holder_gone() { return shown(supervisor.on_holder_gone(now)); }
  std::string tick(int64_t after_ms) {
    now += after_ms * kMs;
    return shown(supervisor.on_tick(views, first_failure, now));
  }
  std::string ticks(int64_t total_ms) {
    std::string all;
    for (int64_t t = 0; t < total_ms; t += 100) all += tick(100);
    return all;
  }
  void report(int rank, int code, const std::string& text) {
    views[size_t(rank)].reported = true;
    views[size_t(rank)].error_code = code;
    views[size_t(rank)].error_text = text;
    if (first_failure == 0) first_failure = uint32_t(rank) + 1;
  }
  void finish(int rank) { views[size_t(rank)].phase = Phase::finished; }
  const Outcome& outcome() const { return supervisor.outcome(); }

  static std::string shown(const Actions& actions) {
    std::string text;
    for (const Action& action : actions) {
      switch (action.kind) {
        case Action::Kind::abort:
          text += "abort " + std::to_string(action.rank) + ";";
          break;
        case Action::Kind::kill:
          text += "kill;";
          break;
        case Action::Kind::request_stop:
          text += "stop;";
          break;
        case Action::Kind::request_checkpoint:
          text += "checkpoint;";
          break;
        case Action::Kind::suspend:
          text += "suspend;";
          break;
        case Action::Kind::say:
          text += "say " + action.text + ";";
          break;
      }
    }
    return text;
  }

  std::vector<RankView> views;
  uint32_t first_failure = 0;
  int64_t now = 0;
  Supervisor supervisor;
};

}  // namespace

TEST_CASE("a run is finished when every rank has finished") {
  Play play;
  for (int r = 0; r < 4; ++r) {
    CHECK_FALSE(play.supervisor.done());
    play.finish(r);
    CHECK(play.exit(r, exited(0)).empty());
  }
  CHECK(play.supervisor.done());
  CHECK(play.outcome().state == RunState::finished);
  CHECK(play.outcome().exit_code == 0);
}

TEST_CASE("the first end that is none of a finished rank decides the exit code") {
  struct Row {
    int status, code;
    const char* cause;
    bool oom = false;
  };
  const Row row =
      GENERATE(Row{killed(SIGKILL), 137, "killed by SIGKILL"}, Row{killed(SIGSEGV), 139, "killed by SIGSEGV"},
               Row{killed(SIGABRT | 0x80), 134, "killed by SIGABRT"},
               Row{killed(SIGKILL), 137, "killed by the host's OOM killer", true},
               Row{exited(0), 70, "exited before its work was done"},
               Row{exited(74), 74, "exited with code 74 and no message; its log may say more"});
  Play play;
  CHECK(play.exit(2, row.status, row.oom) == "abort 2;");
  play.now += 400 * kMs;
  for (int r : {0, 1, 3}) CHECK(play.exit(r, exited(69)).empty());
  REQUIRE(play.supervisor.done());
  CHECK(play.outcome().state == RunState::failed);
  CHECK(play.outcome().exit_code == row.code);
  CHECK(play.outcome().failure.rank == 2);
  CHECK(play.outcome().failure.cause == row.cause);
  CHECK(play.outcome().failure.victims == std::vector<int>{0, 1, 3});
  CHECK(play.outcome().failure.also.empty());
  CHECK(play.outcome().failure.stop_ns == 400 * kMs);
}

TEST_CASE("a rank's own report is the cause, and is acted upon before it exits") {
  Play play;
  play.report(1, 79, "NaN in wte");
  CHECK(play.tick(100) == "abort 1;");
  for (int r = 0; r < 4; ++r) play.exit(r, exited(r == 1 ? 79 : 69));
  CHECK(play.outcome().exit_code == 79);
  CHECK(play.outcome().failure.cause == "NaN in wte");
}

TEST_CASE("the board's first failure is blamed though another rank's exit is seen first") {
  Play play;
  play.report(3, 65, "corrupt");
  CHECK(play.exit(0, exited(69)) == "abort 3;");
  for (int r : {1, 2, 3}) play.exit(r, exited(r == 3 ? 65 : 69));
  CHECK(play.outcome().failure.rank == 3);
  CHECK(play.outcome().exit_code == 65);
  CHECK(play.outcome().failure.also.empty());
}

TEST_CASE("two ranks killed together are both named; the ranks that we killed are victims") {
  Play play;
  play.exit(1, killed(SIGKILL));
  play.exit(3, killed(SIGKILL));
  CHECK(play.ticks(1900).empty());
  CHECK(play.tick(200) == "kill;");
  CHECK(play.ticks(1000).empty());
  play.exit(0, killed(SIGKILL));
  play.exit(2, killed(SIGKILL));
  CHECK(play.outcome().failure.rank == 1);
  CHECK(play.outcome().failure.also == std::vector<std::string>{"rank 3: killed by SIGKILL"});
  CHECK(play.outcome().failure.victims == std::vector<int>{0, 2});
}

TEST_CASE("what all ranks find alike is said once") {
  Play play(2);
  play.report(1, 79, "step 20: the gradient of x is not finite");
  play.report(0, 79, "step 20: the gradient of x is not finite");
  play.exit(1, exited(79));
  play.exit(0, exited(79));
  CHECK(play.outcome().failure.rank == 1);
  CHECK(play.outcome().failure.also.empty());
  CHECK(play.outcome().failure.victims.empty());
}

TEST_CASE("each signal that asks to stop asks the ranks once, and their 75 is the run's") {
  const int signal = GENERATE(SIGINT, SIGTERM, SIGHUP, SIGPWR, SIGXCPU);
  Play play;
  CHECK_THAT(play.signal(signal), Catch::StartsWith("stop;say SIG") &&
                                      Catch::Contains(": finishing the step, then checkpoint") && Catch::EndsWith(";"));
  for (int r = 0; r < 4; ++r) CHECK(play.exit(r, exited(75)).empty());
  CHECK(play.outcome().state == RunState::stopped);
  CHECK(play.outcome().exit_code == 75);
  CHECK(play.outcome().signal == 0);
}

TEST_CASE("signals that come together are one stop, none but INT escalates, and INT only where it is meant") {
  struct Came {
    int signal;
    int64_t after_ms;
    const char* answer;
  };
  constexpr const char* kStop = "stop;say SIGTERM: finishing the step, then checkpoint;";
  constexpr const char* kStopInt =
      "stop;say SIGINT: finishing the step, then checkpoint; again after 2 s, or twice more, to stop at once;";
  constexpr const char* kUnderWay = "say SIGTERM: the checkpoint is under way;";
  constexpr const char* kUnderWayInt =
      "say SIGINT: the checkpoint is under way; again after 2 s, or twice more, to stop at once;";
  constexpr const char* kEnd = "abort -1;kill;";
  struct Row {
    const char* what;
    std::vector<Came> signals;
    int ends_by;  // 0: it commits
  };
  const Row row = GENERATE_COPY(
      Row{"TERM many times",
          {{SIGTERM, 0, kStop},
           {SIGTERM, 1, ""},
           {SIGTERM, 1999, ""},
           {SIGTERM, 1, kUnderWay},
           {SIGTERM, 100, ""},
           {SIGTERM, 60'000, kUnderWay}},
          0},
      Row{"a terminal that closes",
          {{SIGTERM, 0, kStop}, {SIGHUP, 0, ""}, {SIGHUP, 3000, "say SIGHUP: the checkpoint is under way;"}},
          0},
      Row{"one Ctrl-C, passed on once more", {{SIGINT, 0, kStopInt}, {SIGINT, 0, ""}}, 0},
      Row{"a second Ctrl-C within 2 s", {{SIGINT, 0, kStopInt}, {SIGINT, 2000, ""}}, 0},
      Row{"a second Ctrl-C after 2 s", {{SIGINT, 0, kStopInt}, {SIGINT, 2001, kEnd}}, SIGINT},
      Row{"a third Ctrl-C at any time", {{SIGINT, 0, kStopInt}, {SIGINT, 1, ""}, {SIGINT, 1, kEnd}}, SIGINT},
      Row{"a first INT after a TERM is no second one",
          {{SIGTERM, 0, kStop},
           {SIGINT, 10'000, kUnderWayInt},
           {SIGINT, 100, ""},
           {SIGTERM, 2100, kUnderWay},
           {SIGINT, 100, kEnd}},
          SIGINT},
      Row{"all at once",
          {{SIGTERM, 0, kStop}, {SIGINT, 0, ""}, {SIGHUP, 0, ""}, {SIGPWR, 0, ""}, {SIGXCPU, 0, ""}},
          0});
  INFO(row.what);
  Play play;
  for (const Came& came : row.signals) CHECK(play.signal(came.signal, came.after_ms) == came.answer);
  for (int r = 0; r < 4; ++r) CHECK(play.exit(r, row.ends_by != 0 ? killed(SIGKILL) : exited(75)).empty());
  CHECK(play.outcome().state == RunState::stopped);
  CHECK(play.outcome().exit_code == (row.ends_by != 0 ? 128 + row.ends_by : 75));
  CHECK(play.outcome().signal == row.ends_by);
}

TEST_CASE("what has nothing to commit ends at the first signal that asks to stop, by that signal") {
  SupervisorLimits limits;
  limits.has_commits = false;
  Supervisor supervisor(1, limits, 0);
  CHECK(Play::shown(supervisor.on_signal(SIGTERM, 0)) == "abort -1;kill;");
  supervisor.on_exit({0, killed(SIGKILL), false}, std::vector<RankView>(1), 0, 0);
  CHECK(supervisor.outcome().signal == SIGTERM);
}

TEST_CASE("a holder that is gone stops a run as TERM does, and never ends at once what has something to commit") {
  Play play(1);
  CHECK(play.holder_gone() ==
        "stop;say the other end of --stop-when-closed is closed: finishing the step, then checkpoint;");
  CHECK(play.signal(SIGTERM).empty());
  play.exit(0, exited(75));
  CHECK(play.outcome().exit_code == 75);
  Play stopped;
  stopped.signal(SIGINT);
  CHECK(stopped.holder_gone().empty());
  CHECK(stopped.signal(SIGINT).empty());
  Play failed(2);
  failed.exit(0, exited(74));
  CHECK(failed.holder_gone() == "kill;");
}

TEST_CASE("a holder that is gone ends at once what has nothing to commit, and is told") {
  SupervisorLimits limits;
  limits.has_commits = false;
  Supervisor supervisor(1, limits, 0);
  CHECK(Play::shown(supervisor.on_holder_gone(0)) ==
        "abort -1;kill;say the other end of --stop-when-closed is closed;");
  supervisor.on_exit({0, killed(SIGKILL), false}, std::vector<RankView>(1), 0, 0);
  CHECK(supervisor.outcome().signal == SIGTERM);
}

TEST_CASE("a signal while a failed run winds down cuts the grace short and keeps the failure") {
  Play play(2);
  play.exit(0, exited(74));
  CHECK(play.signal(GENERATE(SIGINT, SIGTERM)) == "kill;");
  play.exit(1, killed(SIGKILL));
  CHECK(play.outcome().exit_code == 74);
  CHECK(play.outcome().signal == 0);
}

TEST_CASE("USR1 or USR2 asks for a checkpoint each time and changes nothing else") {
  Play play;
  CHECK(play.signal(SIGUSR1) == "checkpoint;");
  CHECK(play.signal(SIGUSR1) == "checkpoint;");
  CHECK(play.signal(SIGUSR2) == "checkpoint;");
  CHECK_THAT(play.signal(SIGINT), Catch::StartsWith("stop;"));
}

TEST_CASE("a run without progress is a hang of the rank that the others wait for") {
  Play play;
  play.views[2].bucket = 1;
  CHECK(play.ticks(5000).empty());
  CHECK(play.tick(100) == "abort 2;");
  CHECK_THAT(play.outcome().failure.cause, Catch::Contains("no rank made progress for 5 s"));
  CHECK(play.ticks(1900).empty());
  CHECK(play.tick(100) == "kill;");
  for (int r = 0; r < 4; ++r) play.exit(r, killed(SIGKILL));
  CHECK(play.outcome().exit_code == 124);
  CHECK(play.outcome().failure.victims == std::vector<int>{0, 1, 3});
}

TEST_CASE("the rank that the others wait for is the one that has got least far") {
  // In the order in which a rank gets there.
  const std::vector<std::pair<Phase, int32_t>> places = {
      {Phase::rendezvous, -1}, {Phase::plan, -1},    {Phase::load, -1},  {Phase::data_wait, -1}, {Phase::forward, -1},
      {Phase::backward, 0},    {Phase::backward, 1}, {Phase::update, 1}, {Phase::checkpoint, 1}, {Phase::evaluate, 1}};
  for (size_t behind = 0; behind + 1 < places.size(); ++behind) {
    Play play;
    for (RankView& view : play.views) std::tie(view.phase, view.bucket) = places[behind + 1];
    std::tie(play.views[2].phase, play.views[2].bucket) = places[behind];
    play.ticks(5100);
    INFO(phase_name(places[behind].first));
    CHECK(play.outcome().failure.rank == 2);
  }
}

TEST_CASE("progress of any rank, or a heartbeat or bytes of a file alone, keeps a run alive") {
  Play play;
  for (int i = 0; i < 6; ++i) {
    CHECK(play.ticks(4500).empty());
    CHECK_FALSE(play.supervisor.saw_progress());
    if (i % 3 == 0) ++play.views[1].heartbeat_ns;
    if (i % 3 == 1) ++play.views[3].step;
    if (i % 3 == 2) ++play.views[2].io_bytes;
    CHECK(play.tick(100).empty());
    CHECK(play.supervisor.saw_progress());
  }
}

TEST_CASE("time in which the launcher itself was stopped is not a hang") {
  Play play;
  CHECK(play.ticks(4000).empty());
  CHECK(play.tick(600'000).empty());
  CHECK(play.ticks(900).empty());
  CHECK(play.ticks(200) == "abort 0;");
}

TEST_CASE("each signal that stops processes suspends the run, whatever it is about, and is no stop of the run") {
  const int signal = GENERATE(SIGTSTP, SIGTTIN, SIGTTOU);
  Play running, failing, ending;
  failing.exit(0, exited(74));
  for (int i = 0; i < 3; ++i) ending.signal(SIGINT);
  for (Play* play : {&running, &failing, &ending}) {
    CHECK(play->signal(signal) == "suspend;");
    CHECK(play->signal(SIGCONT).empty());
  }
  for (int r = 0; r < 4; ++r) {
    running.finish(r);
    CHECK(running.exit(r, exited(0)).empty());
  }
  CHECK(running.outcome().exit_code == 0);
}

TEST_CASE("a suspension of any length is no hang, no stopped rank and no grace") {
  const int64_t suspended_ms = GENERATE(500, 900, 600'000);
  Play play;
  const auto suspend = [&] {
    play.now += suspended_ms * kMs;
    play.supervisor.on_continued(play.now);
  };
  CHECK(play.ticks(4000).empty());
  for (int i = 0; i < 10; ++i) suspend();
  CHECK(play.ticks(1000).empty());
  CHECK(play.tick(100) == "abort 0;");
  CHECK(play.ticks(1000).empty());
  for (int i = 0; i < 10; ++i) suspend();
  CHECK(play.ticks(900).empty());
  CHECK(play.tick(100) == "kill;");
}

TEST_CASE("a stopped rank is told once, and blamed when it stays so") {
  Play play;
  play.views[3].stopped = true;
  CHECK(play.ticks(900).empty());
  CHECK_THAT(play.tick(100), Catch::StartsWith("say rank 3 is stopped"));
  CHECK(play.ticks(4000).empty());
  CHECK(play.ticks(200) == "abort 3;");
}

TEST_CASE("the last sentence names rank, device, place, cause, victims and what to do") {
  const Placement placement{"cpu", {0, 1, 2, 3}};
  Failure failure;
  failure.rank = 2;
  failure.where.phase = Phase::backward;
  failure.where.step = 1841;
  failure.where.bucket = 4;
  failure.cause = "killed by SIGKILL";
  failure.exit_code = 137;
  failure.victims = {0, 1, 3};
  failure.stop_ns = 420 * kMs;
  CHECK(failure_sentence(failure, placement, "resume: ddp-launch --resume auto a.yaml") ==
        "FAILED rank 2 (cpu 2) step 1841 backward, bucket 4: killed by SIGKILL; ranks 0,1,3 stopped in 0.4 s; "
        "resume: ddp-launch --resume auto a.yaml");
  failure.victims = {0};
  failure.also = {"rank 1: killed by SIGSEGV"};
  failure.where.phase = Phase::load;
  CHECK(failure_sentence(failure, placement, "") ==
        "FAILED rank 2 (cpu 2) step 1841 load: killed by SIGKILL; also rank 1: killed by SIGSEGV; rank 0 stopped in "
        "0.4 s");
}

TEST_CASE("a command is worth repeating unless it would only fail again") {
  for (const int code : {64, 65, 66, 73, 77, 78, 79}) CHECK_FALSE(is_worth_repeating(code));
  for (const int code : {69, 70, 71, 74, 75, 76, 124, 137, 139}) CHECK(is_worth_repeating(code));
}
