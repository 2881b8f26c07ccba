// What ddp-launch does with the descriptors that a program leaves it: --stop-when-closed, --announce.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "runtime/board/board.h"
#include "tests/launcher/launched.h"

using namespace ddp;
using Catch::Contains;
using Catch::StartsWith;

namespace {

constexpr const char* kClosed = "ddp-launch: the other end of --stop-when-closed is closed: finishing the step";

struct Pipe {
  Pipe() {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    read = Fd(ends[0]);
    write = Fd(ends[1]);
  }
  Fd read, write;
};

std::vector<std::string> watching(int number) {
  return {"--stop-when-closed", std::to_string(number), "--nproc", "4", "train.yaml"};
}

Launched start(const Workplace& place, const Pipe& pipe, const std::string& script) {
  return Launched(place, watching(Launched::kInherited), Launched::Options{script, {}, 0, pipe.read.get()});
}

// That it is refused, in a line that contains `text`.
void check_refused(const std::string& option, int number, int inherited, const std::string& text) {
  const Workplace place;
  Launched run(place, {option, std::to_string(number), "train.yaml"}, Launched::Options{{}, {}, 0, inherited});
  CHECK(run.end() == 64);
  CHECK_THAT(run.err(), StartsWith("ddp-launch: " + option + ": ") && Contains(text));
  CHECK(run.err().find('\n') == run.err().size() - 1);
  CHECK_FALSE(place.has("out"));
}

}  // namespace

TEST_CASE("in each phase, a pipe whose other end is closed stops the run as TERM does") {
  const auto phase = Phase(GENERATE(range(int(Phase::rendezvous), int(Phase::finished))));
  INFO(phase_name(phase));
  const Workplace place;
  Pipe pipe;
  Launched run =
      start(place, pipe, std::string("*:phase=") + phase_name(phase) + ",*:step=7,0:commit=7,*:say=up,*:train");
  REQUIRE(run.prints("up", 4));
  pipe.write.reset();
  CHECK(run.end() == 75);
  CHECK_THAT(run.err(), StartsWith(kClosed));
  CHECK_THAT(run.last_error_line(), StartsWith("STOPPED after step 7, checkpoint written; resume: ") &&
                                        Contains("--resume auto --nproc 4 train.yaml"));
  CHECK(Launched::nothing_left());
}

TEST_CASE("a pipe that was closed before the start stops the run once it can commit") {
  const Workplace place;
  Pipe pipe;
  pipe.write.reset();
  Launched run = start(place, pipe, "*:train");
  CHECK(run.end() == 75);
  CHECK_THAT(run.err(), StartsWith(kClosed));
}

TEST_CASE("what is written to the pipe is not its end") {
  const Workplace place;
  Pipe pipe;
  Launched run = start(place, pipe, "*:say=up,*:checkpoint,*:say=on,*:train");
  REQUIRE(run.prints("up", 4));
  REQUIRE(::write(pipe.write.get(), "text\n", 5) == 5);
  run.signal(SIGUSR1);
  REQUIRE(run.prints("on", 4));
  CHECK(run.err().empty());
  pipe.write.reset();
  CHECK(run.end() == 75);
}

TEST_CASE("a rank does not get the descriptors of the program that started its launcher") {
  const Workplace place;
  Pipe pipe;
  Launched run = start(place, pipe, "0:fds,3:fds");
  CHECK(run.end() == 0);
  CHECK_THAT(run.out(), Contains("[rank 0] 5 descriptors") && Contains("[rank 3] 5 descriptors"));
}

TEST_CASE("a descriptor that was not inherited, or whose end nobody would notice, is refused") {
  const Workplace place;
  const Pipe pipe;
  const Fd file = open_input(place.path("data.txt"));
  const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  check_refused("--stop-when-closed", Launched::kInherited, -1, "no descriptor 100 was inherited");
  check_refused("--stop-when-closed", 3, -1, "no descriptor 3 was inherited");  // the launcher's own, by then
  check_refused("--stop-when-closed", Launched::kInherited, pipe.write.get(), "open for writing alone");
  check_refused("--stop-when-closed", Launched::kInherited, file.get(), "which nobody closes");
  check_refused("--stop-when-closed", Launched::kInherited, null.get(), "which nobody closes");
  check_refused("--announce", 3, -1, "no descriptor 3 was inherited");
  check_refused("--announce", Launched::kInherited, pipe.read.get(), "open for reading alone");
}
