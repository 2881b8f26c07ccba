// What signals do to a run of ddp-launch with fake ranks: sent to the launcher, to the ranks, and to all of them, as
// managers of jobs, terminals and shutdowns do.
#include <poll.h>
#include <signal.h>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <set>

#include "runtime/base/clock.h"
#include "runtime/board/board.h"
#include "tests/launcher/launched.h"

using namespace ddp;
using Catch::Contains;
using Catch::StartsWith;

namespace {

const std::vector<std::string> kFour = {"--nproc", "4", "train.yaml"};

// What a rank ignores.
const std::set<int> kIgnored = {SIGINT,  SIGTERM, SIGHUP,  SIGQUIT, SIGUSR1, SIGUSR2, SIGTSTP,
                                SIGTTIN, SIGTTOU, SIGALRM, SIGXFSZ, SIGPWR,  SIGXCPU};

// "SigIgn:\t0000000000001000" of the lines that a rank prints.
std::set<int> signals_in(const std::string& text, const std::string& name) {
  const size_t at = text.find(name + ":");
  REQUIRE(at != std::string::npos);
  const uint64_t mask = std::stoull(text.substr(at + name.size() + 1), nullptr, 16);
  std::set<int> out;
  for (int signal = 1; signal < NSIG; ++signal)
    if ((mask >> (signal - 1) & 1) != 0) out.insert(signal);
  return out;
}

void check_end_at_once(Launched& run, const Workplace& place) {
  CHECK(run.end() == -SIGINT);
  CHECK(Launched::nothing_left());
  CHECK_FALSE(place.has("out/.lock"));
  CHECK_THAT(run.last_error_line(), StartsWith("STOPPED at once by SIGINT"));
  CHECK(nlohmann::json::parse(place.read("out/status.json"))["exit_code"] == 130);
}

}  // namespace

TEST_CASE("a rank ignores what is meant for the launcher from its first instruction, and all else acts by default") {
  const int ignored_by_parent = GENERATE(SIGCHLD, SIGUSR1, SIGSEGV);
  const Workplace place;
  Launched run(place, {"train.yaml"}, Launched::Options{"*:signals", {}, ignored_by_parent, -1});
  CHECK(run.end() == 0);
  CHECK(signals_in(run.out(), "SigIgn") == kIgnored);
  CHECK(signals_in(run.out(), "SigBlk").empty());
  CHECK(signals_in(run.out(), "SigCgt").empty());
}

TEST_CASE("a signal that asks to stop finishes the step and exits 75, also when all processes get it") {
  const int signal = GENERATE(SIGINT, SIGTERM, SIGHUP, SIGPWR, SIGXCPU);
  const bool to_all = GENERATE(false, true);
  INFO(signal << ", to all: " << to_all);
  const Workplace place;
  Launched run(place, {"--stop-after", "9", "--nproc", "4", "train.yaml"}, "*:step=7,0:commit=7,*:say=up,*:train");
  REQUIRE(run.prints("up", 4));
  to_all ? run.signal_all(signal) : run.signal(signal);
  CHECK(run.end() == 75);
  CHECK_THAT(run.err(), Contains(": finishing the step, then checkpoint"));
  CHECK_THAT(run.last_error_line(), StartsWith("STOPPED after step 7, checkpoint written; resume: ") &&
                                        Contains("--resume auto --nproc 4 train.yaml"));
  CHECK(nlohmann::json::parse(place.read("out/status.json"))["state"] == "stopped");
  CHECK(Launched::nothing_left());
}

TEST_CASE("USR1 or USR2 asks the ranks for a checkpoint and the run goes on, also when all processes get it") {
  const int signal = GENERATE(SIGUSR1, SIGUSR2);
  const bool to_all = GENERATE(false, true);
  const Workplace place;
  Launched run(place, kFour, "*:say=up,*:checkpoint");
  REQUIRE(run.prints("up", 4));
  to_all ? run.signal_all(signal) : run.signal(signal);
  CHECK(run.end() == 0);
  CHECK(run.err().empty());
}

TEST_CASE("a signal to the ranks alone changes nothing") {
  const Workplace place;
  Launched run(place, kFour, "*:say=up,*:checkpoint");
  REQUIRE(run.prints("up", 4));
  for (const pid_t rank : run.ranks())
    for (const int signal : kIgnored) ::kill(rank, signal);
  run.signal(SIGUSR1);
  CHECK(run.end() == 0);
  CHECK(run.err().empty());
}

TEST_CASE("HUP, INT and QUIT change nothing where they were ignored at the start: nohup, a script's background") {
  const int signal = GENERATE(SIGHUP, SIGINT, SIGQUIT);
  const Workplace place;
  Launched run(place, kFour, Launched::Options{"*:say=up,*:checkpoint", {}, signal, -1});
  REQUIRE(run.prints("up", 4));
  for (int i = 0; i < 3; ++i) run.signal_all(signal);
  run.signal(SIGUSR1);
  CHECK(run.end() == 0);
  CHECK(run.err().empty());
}

TEST_CASE("what a scheduler sends is taken although a script has ignored it for itself") {
  const int signal = GENERATE(SIGTERM, SIGPWR, SIGXCPU, SIGUSR1, SIGUSR2);
  const Workplace place;
  Launched run(place, kFour, Launched::Options{"*:say=up,*:checkpoint,*:train", {}, signal, -1});
  REQUIRE(run.prints("up", 4));
  run.signal(SIGUSR1);
  run.signal(signal);
  if (signal == SIGUSR1 || signal == SIGUSR2) run.signal(SIGTERM);
  CHECK(run.end() == 75);
}

TEST_CASE("TERM or HUP stops a run once, however often and until when it comes") {
  const int signal = GENERATE(SIGTERM, SIGHUP);
  const Workplace place;
  Launched run(place, kFour, "*:say=up,*:train");
  REQUIRE(run.prints("up", 4));
  while (!run.has_ended()) run.signal_all(signal);
  CHECK(run.end() == 75);
  CHECK_THAT(run.last_error_line(), StartsWith("STOPPED after step "));
}

TEST_CASE("two INT within 2 s are one stop") {
  const Workplace place;
  Launched run(place, kFour, "*:say=up,*:checkpoint,*:train");
  REQUIRE(run.prints("up", 4));
  run.signal_and_wait(SIGINT);
  run.signal_and_wait(SIGINT);
  run.signal(SIGUSR1);  // lets the ranks see the request
  CHECK(run.end() == 75);
  CHECK_THAT(run.err(),
             Contains("SIGINT: finishing the step, then checkpoint; again after 2 s, or twice more, to stop at once"));
}

TEST_CASE("a second INT after 2 s ends the run at once, by the signal itself") {
  const Workplace place;
  Launched run(place, kFour, "*:say=up,*:loop");
  REQUIRE(run.prints("up", 4));
  run.signal(SIGINT);
  REQUIRE(run.prints("finishing the step"));
  for (const int64_t told_ns = monotonic_ns(); ms_between(told_ns, monotonic_ns()) <= 2000;) ::poll(nullptr, 0, 10);
  run.signal(SIGINT);
  check_end_at_once(run, place);
}

TEST_CASE("in each phase, the third INT ends the run and all its processes; so does the launcher's death") {
  const int signal = GENERATE(SIGINT, SIGKILL);
  const auto phase = Phase(GENERATE(range(int(Phase::not_started), int(Phase::finished))));
  const std::string held = std::string("*:phase=") + phase_name(phase) + ",*:say=held,*:loop";
  const char* const unmet = phase == Phase::not_started ? "*:absent" : "0:absent";  // the others wait in the barrier
  const bool has_met = phase > Phase::rendezvous;
  INFO(phase_name(phase) << ", signal " << signal);
  const Workplace place;
  Launched run(place, kFour, has_met ? held : unmet);
  REQUIRE(run.prints(has_met ? "held" : "absent", has_met || phase == Phase::not_started ? 4 : 1));
  if (signal == SIGKILL) {
    run.signal(SIGKILL);
    CHECK(run.end() == -SIGKILL);
    CHECK(Launched::nothing_left());
  } else {
    for (int i = 0; i < 3; ++i) run.signal_and_wait(SIGINT);
    check_end_at_once(run, place);
  }
}

TEST_CASE("Ctrl-Z stops launcher and ranks, and CONT continues them without a word") {
  const bool to_all = GENERATE(false, true);
  const int signal = GENERATE(SIGTSTP, SIGTTIN, SIGTTOU);
  const Workplace place;
  Launched run(place, kFour, "*:say=up,*:train");
  REQUIRE(run.prints("up", 4));
  for (int i = 0; i < 2; ++i) {
    to_all ? run.signal_all(signal) : run.signal(signal);
    REQUIRE(Launched::becomes('T', run.pid()));
    for (const pid_t rank : run.ranks()) CHECK(Launched::becomes('T', rank));
    run.signal(signal);  // of a process that is stopped already
    run.signal(SIGCONT);
    for (const pid_t rank : run.ranks()) CHECK(Launched::becomes('S', rank));
  }
  run.signal(SIGTERM);
  CHECK(run.end() == 75);
  CHECK(run.err().find("is stopped") == std::string::npos);
}

TEST_CASE("a run that is told to stop while it is suspended does so when it is continued") {
  const Workplace place;
  Launched run(place, kFour, "*:say=up,*:train");
  REQUIRE(run.prints("up", 4));
  run.signal(SIGTSTP);
  REQUIRE(Launched::becomes('T', run.pid()));
  run.signal(SIGTERM);
  run.signal(SIGCONT);
  CHECK(run.end() == 75);
}

TEST_CASE("nothing is left of a suspended run whose launcher is killed") {
  const Workplace place;
  Launched run(place, kFour, "*:say=up,*:train");
  REQUIRE(run.prints("up", 4));
  run.signal(SIGTSTP);
  REQUIRE(Launched::becomes('T', run.pid()));
  run.signal(SIGKILL);
  CHECK(run.end() == -SIGKILL);
  CHECK(Launched::nothing_left());
}

TEST_CASE("a rank that somebody else has stopped stays so over a suspension") {
  const Workplace place;
  Launched run(place, kFour, "*:say=up,*:train");
  REQUIRE(run.prints("up", 4));
  const std::vector<pid_t> ranks = run.ranks();
  ::kill(ranks[2], SIGSTOP);
  REQUIRE(run.prints("rank 2 is stopped"));
  run.signal(SIGTSTP);
  REQUIRE(Launched::becomes('T', run.pid()));
  run.signal(SIGCONT);
  CHECK(Launched::becomes('S', ranks[3]));  // it is continued after rank 2 would be
  CHECK(Launched::becomes('T', ranks[2]));
  ::kill(ranks[2], SIGCONT);
  run.signal(SIGTERM);
  CHECK(run.end() == 75);
}

TEST_CASE("the launch benchmark has nothing to commit and ends at the first signal") {
  const int signal = GENERATE(SIGINT, SIGTERM, SIGHUP);
  const Workplace place;
  Launched bench(place, {"bench", "launch", "--nproc", "2", "--repeat", "100000", "--json"});
  REQUIRE(bench.prints("met_ns"));
  bench.signal(signal);
  CHECK(bench.end() == -signal);
  CHECK(Launched::nothing_left());
}
