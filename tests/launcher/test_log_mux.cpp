#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "launcher/log_mux.h"
#include "tests/support/temporary_folder.h"

using namespace ddp;

namespace {

std::vector<std::string> split(const std::vector<std::string>& pieces) {
  std::vector<std::string> lines;
  LineSplitter splitter;
  const auto sink = [&](std::string_view line) { lines.emplace_back(line); };
  for (const std::string& piece : pieces) splitter.feed(piece, sink);
  splitter.finish(sink);
  return lines;
}

// A pipe whose read end does not block, as stdout and stderr of a console.
struct Pipe {
  Pipe() {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    in = Fd(ends[0]), out = Fd(ends[1]);
    ::fcntl(in.get(), F_SETFL, O_NONBLOCK);
  }
  std::string text() const {
    std::string all(1 << 20, '\0');
    const ssize_t n = ::read(in.get(), all.data(), all.size());
    all.resize(n > 0 ? size_t(n) : 0);
    return all;
  }
  Fd in, out;
};

// A pseudo-terminal of 20 columns: what a user on a terminal would be sent.
struct Terminal {
  Terminal() {
    in = Fd(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
    REQUIRE((in && ::grantpt(in.get()) == 0 && ::unlockpt(in.get()) == 0));
    out = Fd(::open(::ptsname(in.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
    const winsize size = {24, 20, 0, 0};
    ::ioctl(out.get(), TIOCSWINSZ, &size);
  }
  std::string text() const {
    std::string all(1 << 16, '\0');
    const ssize_t n = ::read(in.get(), all.data(), all.size());
    all.resize(n > 0 ? size_t(n) : 0);
    return all;
  }
  Fd in, out;
};

}  // namespace

TEST_CASE("lines are put together from pieces") {
  CHECK(split({"one\ntw", "o\n", "\nthree"}) == std::vector<std::string>{"one", "two", "", "three"});
  CHECK(split({"a\r\n", "b\r", "\nc"}) == std::vector<std::string>{"a", "b", "c"});
}

TEST_CASE("garbage in a line cannot steer the terminal") {
  CHECK(split({std::string("a\0b\x1b[2Jc\rd\te\n", 13)}) == std::vector<std::string>{"a?b?[2Jc?d\te"});
}

TEST_CASE("a line without an end is handed out in pieces, losing nothing") {
  const std::string piece(50'000, 'x');
  const auto lines = split({piece, piece, piece, "\nnext\n"});
  REQUIRE(lines.size() == 4);
  CHECK(lines[0].size() == kMaxLineBytes);
  CHECK(lines[0].size() + lines[1].size() + lines[2].size() == 150'000);
  CHECK(lines[3] == "next");
}

TEST_CASE("a line goes to the console with its rank and to that rank's log, appended") {
  const test::TemporaryFolder folder;
  const Pipe out, err;
  {
    const Fd logs(::open(folder.path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    for (int start = 0; start < 2; ++start) {
      Console console(out.out.get(), err.out.get());
      LogMux mux(2, logs.get(), console);
      mux.feed(1, "hello\n");
      mux.feed(0,
               "\x1fplain\n\x1etransient\n\x1d"
               "for the log\n");
      mux.feed(1, "no newline");
      mux.finish(1);
    }
  }
  const std::string once = "[rank 1] hello\nplain\n[rank 1] no newline\n";
  CHECK(out.text() == once + once);
  CHECK(read_text(folder.path / "rank-0.log") == "plain\nfor the log\nplain\nfor the log\n");
  CHECK(read_text(folder.path / "rank-1.log") == "hello\nno newline\nhello\nno newline\n");
}

TEST_CASE("on a terminal the status line is cut to the width, cleared before a line and drawn again after it") {
  const Terminal terminal;
  const Pipe err;
  Console console(terminal.out.get(), err.out.get());
  LogMux mux(1, -1, console);
  mux.feed(0, "\x1estep 1 and much more text\n");
  CHECK(terminal.text() == "step 1 and much mor");
  mux.feed(0, "a line\n");
  CHECK(terminal.text() == "\r\x1b[2K[rank 0] a line\r\nstep 1 and much mor");
  mux.feed(0, "\x1estep 1  loss 2.0  12.5 ms\n");
  CHECK(terminal.text() == "\r\x1b[2Kstep 1  loss 2.0");
  console.status({});
  CHECK(terminal.text() == "\r\x1b[2K");
}

TEST_CASE("a reader that is slow or gone does not block the launcher") {
  Pipe out, err;
  Console console(out.out.get(), err.out.get());
  const std::string line(1000, 'y');
  for (int i = 0; i < 3000; ++i) console.line(line);  // 3 MB into a pipe of 64 KiB that nobody reads
  std::string seen;
  for (std::string some = out.text(); !some.empty(); some = out.text()) {
    seen += some;
    console.flush();
  }
  CHECK_THAT(seen, Catch::EndsWith("lines left out here, see the log files)\n"));
  out.in.reset();
  ::signal(SIGPIPE, SIG_IGN);
  console.line("nobody listens");
  console.message("to the other end");
  CHECK(err.text() == "to the other end\n");
}
