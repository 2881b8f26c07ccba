#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "launcher/log_mux.h"
#include "tests/support/file_size_limit.h"
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

Fd open_folder(const std::filesystem::path& path) { return Fd(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)); }

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
    for (int start = 0; start < 2; ++start) {
      Console console(out.out.get(), err.out.get());
      LogMux mux(2, open_folder(folder.path), console);
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
  LogMux mux(1, Fd(), console);
  mux.feed(0, "\x1estep 1 and much more text\n");
  CHECK(terminal.text() == "step 1 and much mor");
  mux.feed(0, "a line\n");
  CHECK(terminal.text() == "\r\x1b[2K[rank 0] a line\r\nstep 1 and much mor");
  mux.feed(0, "\x1estep 1  loss 2.0  12.5 ms\n");
  CHECK(terminal.text() == "\r\x1b[2Kstep 1  loss 2.0");
  console.status({});
  CHECK(terminal.text() == "\r\x1b[2K");
}

TEST_CASE("a terminal shows as many fields of a step's line as fit in a row; the log has all") {
  const test::TemporaryFolder folder;
  const Terminal terminal;
  const Pipe err;
  Console console(terminal.out.get(), err.out.get());
  LogMux mux(1, open_folder(folder.path), console);
  mux.feed(0, "\x1cstep 1  loss 2.0  12.5 ms\n");
  CHECK(terminal.text() == "step 1  loss 2.0\r\n");
  CHECK(read_text(folder.path / "rank-0.log") == "step 1  loss 2.0  12.5 ms\n");
}

TEST_CASE("a terminal that is to be plain is written to as a file is") {
  const Terminal terminal;
  const Pipe err;
  Console console(terminal.out.get(), err.out.get(), /*plain=*/true);
  CHECK_FALSE(console.is_terminal());
  LogMux mux(1, Fd(), console);
  mux.feed(0, "\x1estep 1\n\x1cstep 1  loss 2.0  12.5 ms\n");
  CHECK(terminal.text() == "step 1  loss 2.0  12.5 ms\r\n");
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

TEST_CASE("log lines that a full disk does not take wait; it is told when it begins and ends, and what is missing") {
  const test::TemporaryFolder folder;
  const Pipe out, err;
  Console console(out.out.get(), err.out.get());
  LogMux mux(2, open_folder(folder.path), console);
  mux.feed(0,
           "\x1d"
           "one\n");
  {
    const test::FileSizeLimit full(4);
    mux.feed(0,
             "\x1d"
             "two\n\x1d"
             "three\n");
    mux.feed(1,
             "\x1d"
             "other\n");
    mux.flush();
    CHECK(read_text(folder.path / "rank-0.log") == "one\n");
    CHECK(err.text() ==
          "ddp-launch: warning: logs/rank-0.log cannot be written: File too large (see ulimit -f); lines wait in "
          "memory\n");
  }
  mux.flush();
  CHECK(read_text(folder.path / "rank-0.log") == "one\ntwo\nthree\n");
  CHECK(read_text(folder.path / "rank-1.log") == "other\n");
  CHECK(err.text() == "ddp-launch: the logs are written again\n");
  {
    const test::FileSizeLimit full(14);
    mux.feed(0,
             "\x1d"
             "four\n\x1d"
             "five\n");
    err.text();
    mux.conclude();
    CHECK(err.text() == "ddp-launch: warning: logs/rank-0.log lacks 2 lines: File too large (see ulimit -f)\n");
  }
  mux.feed(0,
           "\x1d"
           "six\n");
  CHECK(read_text(folder.path / "rank-0.log") ==
        "one\ntwo\nthree\n(2 lines are missing here: the disk was full)\nsix\n");
}

TEST_CASE("output to a file on a full disk waits within bounds, and what is missing at the end is said") {
  const test::TemporaryFolder folder;
  const std::filesystem::path path = folder.path / "out.txt";
  const Pipe err;
  const std::string told =
      "ddp-launch: warning: standard output cannot be written: File too large (see ulimit -f); lines wait in memory\n";
  const auto open_output = [&] { return Fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)); };
  SECTION("there is room again") {
    const Fd out = open_output();
    {
      Console console(out.get(), err.out.get());
      console.line("one");
      {
        const test::FileSizeLimit full(6);
        console.line("two");
        console.line("three");
        CHECK(read_text(path) == "one\ntw");
      }
      console.flush();
      CHECK(read_text(path) == "one\ntwo\nthree\n");
      {
        const test::FileSizeLimit full(16);
        const std::string line(1000, 'y');
        for (int i = 0; i < 3000; ++i) console.line(line);
      }
      console.flush();
    }
    const std::string text = read_text(path);
    CHECK(text.size() < 1'100'000);
    CHECK_THAT(text, Catch::EndsWith("lines left out here, see the log files)\n"));
    CHECK(err.text() == told);
  }
  SECTION("there is none to the end") {
    const Fd out = open_output();
    const test::FileSizeLimit full(6);
    {
      Console console(out.get(), err.out.get());
      for (const char* line : {"one", "two", "three"}) console.line(line);
    }
    CHECK(read_text(path) == "one\ntw");
    CHECK(err.text() == told + "ddp-launch: warning: standard output lacks 2 lines: File too large (see ulimit -f)\n");
  }
  SECTION("messages wait too") {
    const Fd both = open_output();
    Console console(both.get(), both.get());
    {
      const test::FileSizeLimit full(2);
      console.message("a message");
      console.message("another");
      CHECK(read_text(path) == "a ");
    }
    console.flush();
    CHECK(read_text(path) == "a message\nanother\n");
  }
}
