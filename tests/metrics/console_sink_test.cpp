#include <catch2/catch.hpp>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "runtime/metrics/console_sink.h"

namespace ddp {
namespace {

// A sink and the lines that it has written since they were last taken.
struct Console {
  char* text = nullptr;
  size_t size = 0, taken = 0;
  std::FILE* out = ::open_memstream(&text, &size);
  ConsoleSink sink;

  explicit Console(ConsoleMode mode, int64_t log_every = 1) : sink(mode, log_every, out) {}
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;
  ~Console() {
    std::fclose(out);
    std::free(text);
  }

  std::vector<std::string> take() {
    std::vector<std::string> lines;
    for (size_t end; (end = std::string_view(text, size).find('\n', taken)) != std::string_view::npos; taken = end + 1)
      lines.emplace_back(text + taken, end - taken);
    return lines;
  }
};

StepRecord record(int64_t step, double step_ms = 40) {
  StepRecord r;
  r.step = step;
  r.total_steps = 1000;
  r.loss = 2.81234;
  r.lr = 3e-4;
  r.grad_norm = 0.81249;
  r.work = 2048;
  r.step_ms = step_ms;
  r.data_wait_ms = 0.12;
  r.exposed_comm_ms = 1.2;
  r.memory_bytes = 12 << 20;
  return r;
}

using Lines = std::vector<std::string>;

TEST_CASE("on a terminal every step is a transient line with a bar, and some stay above it") {
  Console console(ConsoleMode::terminal, 60);
  const std::string text =
      "step 120/1000  loss 2.8123  ETA 0:35  51.2k tok/s  lr 3.0e-04  norm 0.812  40.0 ms (compute 38.7 comm 1.2 "
      "data 0.1)  mem 12 MiB";
  console.sink.write(record(120));
  CHECK(console.take() == Lines{"\x1c" + text, "\x1e[=>        ] " + text});
  console.sink.write(record(121));
  const Lines next = console.take();
  REQUIRE(next.size() == 1);
  CHECK(next[0].starts_with("\x1e[=>        ] step 121/1000 "));
  console.sink.write(record(1000));  // the last one
  CHECK(console.take().at(0).starts_with("\x1cstep 1000/1000 "));
}

TEST_CASE("a row of 80 columns has a step's loss, time left, speed, learning rate and gradient norm") {
  Console console(ConsoleMode::plain, 1);
  StepRecord r = record(50'000, 400);
  r.total_steps = 100'000;
  console.sink.write(r);
  const std::string line = console.take().at(0);
  CHECK(line.find("ETA 5:33:20") != line.npos);
  CHECK(line.find("  norm 0.812  ") + 12 <= 81);  // its mark is not shown
}

TEST_CASE("elsewhere every log.every-th step and the last are permanent lines") {
  Console console(ConsoleMode::plain, 10);
  for (int64_t step : {9, 10, 11, 1000}) console.sink.write(record(step));
  const Lines lines = console.take();
  REQUIRE(lines.size() == 2);
  CHECK(lines[0] ==
        "\x1cstep 10/1000  loss 2.8123  ETA 0:40  51.2k tok/s  lr 3.0e-04  norm 0.812  40.0 ms (compute 38.7 comm 1.2 "
        "data 0.1)  mem 12 MiB");
  CHECK(lines[1].starts_with("\x1cstep 1000/1000 "));
}

TEST_CASE("exposed communication that is not measured is not claimed") {
  Console console(ConsoleMode::bare);
  console.sink.write(record(1));
  StepRecord as_graphs = record(1000);
  as_graphs.exposed_comm_ms = NAN;
  console.sink.write(as_graphs);
  console.sink.summary({.seconds = 1, .run_folder = "run", .checkpoint = {}, .example_prompt = {}});
  const Lines lines = console.take();
  REQUIRE(lines.size() >= 3);
  CHECK(lines[1].ends_with("40.0 ms (data 0.1)  mem 12 MiB"));
  CHECK(lines[2].ends_with("tok/s"));
}

TEST_CASE("a skipped step is a permanent line of its own, whatever log.every says") {
  Console console(ConsoleMode::plain, 10);
  StepRecord r = record(12);
  r.loss_scale = 65536;
  r.skipped = {.tensor = "h.1.mlp.c_fc.weight", .rank = 2, .next_loss_scale = 32768};
  console.sink.write(r);
  r.skipped->rank = -1;
  console.sink.write(r);
  CHECK(console.take() ==
        Lines{"\x1f"
              "step 12: skipped, loss scale 65536 -> 32768: h.1.mlp.c_fc.weight of rank 2 is not finite",
              "\x1f"
              "step 12: skipped, loss scale 65536 -> 32768: h.1.mlp.c_fc.weight is not finite in the "
              "sum over ranks"});
}

TEST_CASE("without a launcher lines carry no marks") {
  Console console(ConsoleMode::bare);
  console.sink.write(record(1));
  console.sink.line("hello");
  const Lines lines = console.take();
  REQUIRE(lines.size() == 2);
  CHECK(lines[0].starts_with("step 1/1000 "));
  CHECK(lines[1] == "hello");
}

TEST_CASE("speed and ETA follow recent steps and forget the first") {
  Console console(ConsoleMode::bare);
  const auto shows = [&](const StepRecord& r) {
    console.sink.write(r);
    const std::string line = console.take().at(0);
    return line.substr(line.find("  ETA") + 2, 28);
  };
  CHECK(shows(record(998, 2048)).starts_with("ETA 0:04  1.00k tok/s  "));
  CHECK(shows(record(900, 100)).find("  20.5k tok/s  ") != std::string::npos);
  CHECK(shows(record(900, 200)).starts_with("ETA 0:11  "));  // 100 steps of 110 ms
}

TEST_CASE("start-up, evaluations, checkpoints and warnings are permanent lines") {
  Console console(ConsoleMode::terminal);
  console.sink.start_up({213.2, 4.1, 0.6, 3.0, 180});
  console.sink.write(EvalRecord{100, 512, 2.1, 3.0297});
  console.sink.write(EvalRecord{200, 512, 2.05, NAN, {{"top1", 0.25}}, true});
  console.sink.checkpoint(100, 12 << 20, 85.3);
  console.sink.warning("disk is full");
  CHECK(console.take() == Lines{"\x1fstart-up 213 ms: launch 4.1, rendezvous 0.6, data 3, first step 180",
                                "\x1f"
                                "eval at step 100: loss 2.1000, 3.030 bits per byte",
                                "\x1f"
                                "eval at step 200: loss 2.0500, top1 25.00%, the best so far",
                                "\x1f"
                                "checkpoint of step 100: 12 MiB in 85 ms",
                                "\x1fwarning: disk is full"});
}

TEST_CASE("the summary tells steps, speed, losses and where things are") {
  Console console(ConsoleMode::bare, 0);
  for (int64_t step : {998, 999}) console.sink.write(record(step));
  console.sink.write(EvalRecord{998, 512, 2.0, 2.885});
  console.sink.write(EvalRecord{999, 512, 2.1, 3.030});
  console.sink.write(record(1000));
  console.take();
  console.sink.summary({47.2, "runs/x", "runs/x/checkpoints/step-00001000", "In the beginning"});
  CHECK(console.take() ==
        Lines{"finished steps 998-1000 of 1000 in 0:47: 51.2k tok/s, exposed communication 3.0% of the step time",
              "  train       loss 2.8123", "  eval        loss 2.1000, 3.030 bits per byte at step 999",
              "  best eval   loss 2.0000, 2.885 bits per byte at step 998", "  metrics     runs/x/metrics.jsonl",
              "  checkpoint  runs/x/checkpoints/step-00001000",
              "  sample      ddp-launch sample runs/x --prompt \"In the beginning\" --tokens 200"});
}

TEST_CASE("the summary of a run that keeps its best names that, and not the best of this process") {
  Console console(ConsoleMode::bare, 0);
  console.sink.write(EvalRecord{998, 512, 2.0, NAN});
  console.sink.write(EvalRecord{999, 512, 2.1, NAN});
  console.take();
  console.sink.summary({1, "runs/x", "", "", "runs/x/checkpoints/best", 500});
  CHECK(console.take() == Lines{"  eval        loss 2.1000 at step 999", "  metrics     runs/x/metrics.jsonl",
                                "  best        runs/x/checkpoints/best, of step 500"});
}

TEST_CASE("a run that stopped early says so, and one without steps has a summary too") {
  Console console(ConsoleMode::bare, 0);
  console.sink.summary({0, "runs/x", "", ""});
  CHECK(console.take() == Lines{"  metrics     runs/x/metrics.jsonl"});
  console.sink.write(record(5));
  console.sink.summary({1, "runs/x", "", ""});
  CHECK(console.take().at(0).starts_with("stopped early, steps 5-5 of 1000 in 0:01: "));
}

TEST_CASE("work is counted in the model's unit, and a model that writes nothing is not sampled") {
  Console console(ConsoleMode::plain, 1);
  StepRecord r = record(1000);
  r.work = 32;
  r.unit = {.abbreviation = "img", .plural = "images"};
  console.sink.write(r);
  CHECK(console.take().at(0).find("  800 img/s  ") != std::string::npos);
  console.sink.summary({1, "runs/x", "runs/x/checkpoints/step-00001000", ""});
  const Lines end = console.take();
  CHECK(end.at(0).find(": 800 img/s") != std::string::npos);
  CHECK(end.back().find("  checkpoint  runs/x") != std::string::npos);
}

TEST_CASE("the environment tells the mode") {
  const auto mode = [](const char* board_fd, const char* tty) {
    board_fd != nullptr ? ::setenv("DDP_BOARD_FD", board_fd, 1) : ::unsetenv("DDP_BOARD_FD");
    tty != nullptr ? ::setenv("DDP_TTY", tty, 1) : ::unsetenv("DDP_TTY");
    return console_mode_from_environment();
  };
  CHECK(mode("3", "1") == ConsoleMode::terminal);
  CHECK(mode("3", "0") == ConsoleMode::plain);
  CHECK(mode("3", nullptr) == ConsoleMode::plain);
  CHECK(mode(nullptr, "1") == ConsoleMode::bare);
  mode(nullptr, nullptr);
}

}  // namespace
}  // namespace ddp
