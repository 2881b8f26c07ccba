#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <limits>

#include "runtime/base/error.h"
#include "runtime/metrics/jsonl_sink.h"
#include "tests/support/file_size_limit.h"
#include "tests/support/temporary_folder.h"

namespace ddp {
namespace {

// metrics.jsonl in a folder of its own.
struct MetricsFile {
  test::TemporaryFolder folder;
  std::filesystem::path path = folder.path / "metrics.jsonl";

  void put(const std::string& text) const { write_text_atomically(path, text); }
  std::string text() const { return read_text(path); }
};

StepRecord record(int64_t step) {
  StepRecord r;
  r.step = step;
  r.total_steps = 10;
  r.loss = 0.1;
  r.lr = 0.004;
  r.grad_norm = 1.5;
  r.applied_steps = step - 1;
  r.loss_scale = 65536;
  r.work = 64;
  r.step_ms = 12.3456;
  r.data_wait_ms = 0.25;
  r.exposed_comm_ms = 1;
  r.samples_seen = 32 * step;
  r.time_ms = 1'795'815'003'045;
  return r;
}

TEST_CASE("a step is one line with the documented keys") {
  CHECK(json_line(record(7)) ==
        R"({"type":"step","step":7,"loss":0.10000000000000001,"lr":0.0040000000000000001,"grad_norm":1.5,)"
        R"("tokens_per_s":5184.033,"step_ms":12.346,"data_wait_ms":0.250,"exposed_comm_ms":1.000,"samples_seen":224,)"
        R"("applied_steps":6,"loss_scale":65536,"skipped":false,"time":"2026-11-27T21:30:03.045Z"})");
  EvalRecord eval{8, 512, 2.5, 3.25};
  eval.time_ms = 1'795'815'000'500;
  CHECK(json_line(eval) == R"({"type":"eval","step":8,"samples":512,"loss":2.5,"bits_per_byte":3.25,)"
                           R"("time":"2026-11-27T21:30:00.500Z"})");
}

TEST_CASE("a skipped step names the tensor, and the rank where one is to blame") {
  StepRecord r = record(7);
  r.skipped = {.tensor = "wte.weight", .rank = 2, .next_loss_scale = 32768};
  CHECK_THAT(json_line(r), Catch::Contains(R"("loss_scale":65536,"skipped":true,"non_finite":"wte.weight",)"
                                           R"("non_finite_rank":2,)"));
  r.skipped->rank = -1;
  CHECK_THAT(json_line(r), Catch::Contains(R"("skipped":true,"non_finite":"wte.weight","non_finite_rank":null,)"));
}

TEST_CASE("numbers that JSON does not have are null") {
  StepRecord r = record(1);
  r.loss = NAN;
  r.grad_norm = INFINITY;
  r.step_ms = 0;
  const std::string line = json_line(r);
  CHECK(line.find(R"("loss":null,)") != std::string::npos);
  CHECK(line.find(R"("grad_norm":null,"tokens_per_s":null,)") != std::string::npos);
  CHECK_THAT(json_line(EvalRecord{8, 512, 2.5, NAN}), Catch::Contains(R"("loss":2.5,"bits_per_byte":null,)"));
}

TEST_CASE("a loss reads back to the same bits") {
  for (double loss :
       {0.1 + 0.2, 5.5451774444795623, std::nextafter(2.0, 3.0), 1e-300, 5e-324, std::numeric_limits<double>::max()}) {
    const std::string line = json_line(EvalRecord{1, 512, loss, 0});
    CHECK(std::strtod(line.c_str() + line.find("\"loss\":") + 7, nullptr) == loss);
  }
}

TEST_CASE("a resume cuts later lines, goes on after the earlier ones, and leaves no other file") {
  MetricsFile file;
  std::string expected;
  {
    JsonlSink sink(file.path, 0);
    for (int64_t step = 1; step <= 6; ++step) {
      sink.write(record(step));
      if (step <= 4) expected += json_line(record(step)) + "\n";
      if (step % 2 == 0) sink.write(EvalRecord{step, 512, 2, 3});
      if (step == 2 || step == 4) expected += json_line(EvalRecord{step, 512, 2, 3}) + "\n";
    }
  }
  {
    JsonlSink sink(file.path, 4);
    CHECK(file.text() == expected);
    CHECK(sink.begin() == int64_t(expected.size()));
    sink.write(record(5));
  }
  CHECK(file.text() == expected + json_line(record(5)) + "\n");
  CHECK(std::distance(std::filesystem::directory_iterator(file.folder.path), {}) == 1);
}

TEST_CASE("torn and foreign lines are dropped at a resume") {
  MetricsFile file;
  const std::string first = json_line(record(1)) + "\n", second = json_line(record(2));
  for (const std::string& torn :
       {second, second.substr(0, 20), second.substr(0, second.size() - 1) + "\n", std::string("\n"),
        std::string(30, '\0') + "\n", std::string("{\"type\":\"step\"}\n")}) {
    file.put(first + torn);
    JsonlSink sink(file.path, 1);
    CHECK(file.text() == first);
  }
}

TEST_CASE("a fresh start begins an empty file") {
  MetricsFile file;
  file.put(json_line(EvalRecord{0, 512, 1, 1}) + "\n");
  JsonlSink sink(file.path, 0);
  CHECK(file.text().empty());
  CHECK(sink.begin() == 0);
}

// Lines about steps, of "step", "eval" and "gap FROM TO", as a file holds them.
std::string lines(std::initializer_list<std::string> of) {
  std::string text;
  for (const std::string& line : of) text += line + "\n";
  return text;
}
std::string step(int64_t at) { return json_line(record(at)); }
std::string eval(int64_t at) { return json_line(EvalRecord{at, 512, 2, 3}); }
std::string gap(int64_t from, int64_t to) {
  return R"({"type":"gap","from":)" + std::to_string(from) + R"(,"to":)" + std::to_string(to) + "}";
}

TEST_CASE("lines that a full disk does not take wait, and come in order when there is room again") {
  MetricsFile file;
  std::vector<std::string> told;
  JsonlSink sink(file.path, 0, [&](const std::string& line) { told.push_back(line); });
  sink.write(record(1));
  const std::string before = file.text();
  {
    const test::FileSizeLimit full(before.size() + 10);
    for (int64_t at = 2; at <= 4; ++at) sink.write(record(at));
    sink.write(EvalRecord{4, 512, 2, 3});
    sink.flush();
    CHECK(file.text() == before);
    CHECK(told == std::vector<std::string>{"warning: metrics.jsonl cannot be written: File too large (see ulimit -f); "
                                           "lines wait in memory"});
  }
  SECTION("at the next line") { sink.write(record(5)); }
  SECTION("at a flush") {
    sink.flush();
    sink.write(record(5));
  }
  SECTION("at the end") {
    sink.conclude();
    sink.write(record(5));
  }
  CHECK(file.text() == lines({step(1), step(2), step(3), step(4), eval(4), step(5)}));
  CHECK(told.size() == 2);
  CHECK(told.back() == "metrics.jsonl is written again");
}

TEST_CASE("what is missing at the end is said, and in the file too where a gap line finds room") {
  MetricsFile file;
  std::vector<std::string> told;
  JsonlSink sink(file.path, 0, [&](const std::string& line) { told.push_back(line); });
  sink.write(record(1));
  const std::string before = file.text();
  const bool has_room = GENERATE(false, true);
  {
    const test::FileSizeLimit full(before.size() + (has_room ? 50 : 10));
    for (int64_t at = 2; at <= 4; ++at) sink.write(record(at));
    sink.conclude();
  }
  CHECK(told.back() == std::string("warning: metrics.jsonl lacks 3 lines, of steps 2 to 4") +
                           (has_room ? "" : ": File too large (see ulimit -f)"));
  CHECK(file.text() == before + (has_room ? gap(2, 4) + "\n" : ""));
}

TEST_CASE("a resume cuts a gap at the resumed step, and makes one of lines that are missing before it") {
  struct Row {
    const char* what;
    std::string before;
    std::string after;  // of a resume at step 5
  };
  const Row row = GENERATE_COPY(values<Row>({
      {"before it", lines({step(1), gap(2, 4), step(5), step(6)}), lines({step(1), gap(2, 4), step(5)})},
      {"up to it", lines({step(1), gap(2, 5), step(6)}), lines({step(1), gap(2, 5)})},
      {"over it", lines({step(1), gap(2, 9), step(10)}), lines({step(1), gap(2, 5)})},
      {"over it, from the first line", lines({gap(1, 9), eval(9)}), lines({gap(1, 5)})},
      {"from it: its evaluation is missing", lines({gap(1, 4), step(5), gap(5, 7), step(8)}),
       lines({gap(1, 4), step(5), gap(5, 5)})},
      {"behind it", lines({gap(1, 4), step(5), gap(6, 7), step(8)}), lines({gap(1, 4), step(5)})},
      {"none, but lines are missing", lines({step(1), step(2), eval(2)}),
       lines({step(1), step(2), eval(2), gap(3, 5)})},
      {"before it, and lines are missing", lines({step(1), gap(2, 3)}), lines({step(1), gap(2, 3), gap(4, 5)})},
      {"torn", lines({step(1), gap(2, 9)}).substr(0, step(1).size() + 20), lines({step(1), gap(2, 5)})},
      {"of no sense", lines({step(1), gap(4, 2), step(2)}), lines({step(1), step(2), gap(3, 5)})},
      {"not known: an empty file", "", ""},
  }));
  INFO(row.what);
  MetricsFile file;
  file.put(row.before);
  JsonlSink sink(file.path, 5);
  CHECK(file.text() == row.after);
  sink.write(record(6));
  CHECK(file.text() == row.after + step(6) + "\n");
}

TEST_CASE("lines about some steps are whole lines, and gaps are cut to these steps") {
  const std::string text = lines({step(1), gap(2, 4), eval(4), "no line of ours", step(5), gap(6, 9)}) + step(10);
  CHECK(metrics_lines(text, 0, 3) == lines({step(1), gap(2, 3)}));
  CHECK(metrics_lines(text, 4, 7) == lines({gap(4, 4), eval(4), step(5), gap(6, 7)}));
  CHECK(metrics_lines(text, 2, 100) == lines({gap(2, 4), eval(4), step(5), gap(6, 9)}));
  CHECK(metrics_lines(text, 10, 100).empty());
}

TEST_CASE("an evaluation is missing where its step, or a gap over it, has none") {
  MetricsFile file;
  const auto lacks = [&](std::initializer_list<std::string> of) {
    file.put(lines(of));
    return lacks_evaluation(file.path, 5);
  };
  CHECK_FALSE(lacks_evaluation(file.path, 5));
  CHECK_FALSE(lacks({}));
  CHECK_FALSE(lacks({step(4), eval(4)}));
  CHECK(lacks({step(4), eval(4), step(5)}));
  CHECK(lacks({step(5), eval(50)}));
  CHECK(lacks({step(1), gap(2, 5)}));
  CHECK_FALSE(lacks({gap(1, 4)}));
  CHECK_FALSE(lacks({step(5), eval(5)}));
  CHECK_FALSE(lacks({gap(1, 5), eval(5)}));
}

TEST_CASE("evaluations are read back to the same bits, up to a step") {
  MetricsFile file;
  CHECK(evaluations(file.path, "loss", 100).empty());
  EvalRecord first{.step = 2, .loss = 0.1 + 0.2, .bits_per_byte = NAN, .shares = {{"top1", 1.0 / 3}}};
  EvalRecord second{.step = 4, .loss = NAN, .bits_per_byte = NAN, .is_best = true};
  CHECK_THAT(json_line(second), Catch::Contains(R"("bits_per_byte":null,"best":true,)"));
  file.put(lines({json_line(record(2)), json_line(first), gap(3, 4), json_line(second), eval(6)}));
  const std::map<int64_t, double> losses = evaluations(file.path, "loss", 5);
  REQUIRE(losses.size() == 2);
  CHECK(losses.at(2) == 0.1 + 0.2);
  CHECK(std::isnan(losses.at(4)));
  CHECK(evaluations(file.path, "top1", 2).at(2) == 1.0 / 3);
}

TEST_CASE("on a full disk a resume cuts later lines all the same, and leaves no other file") {
  MetricsFile file;
  const bool has_foreign_line = GENERATE(false, true);
  const std::string foreign = has_foreign_line ? "# a note\n" : "";
  file.put(lines({step(1)}) + foreign + lines({step(2), step(3)}));
  {
    const test::FileSizeLimit full(0);
    JsonlSink sink(file.path, 2);
    CHECK(file.text() == lines({step(1)}) + foreign + lines({step(2)}));
    CHECK(sink.begin() == int64_t(file.text().size()));
  }
  CHECK(std::distance(std::filesystem::directory_iterator(file.folder.path), {}) == 1);
  JsonlSink sink(file.path, 2);
  CHECK(file.text() == lines({step(1), step(2)}));
}

}  // namespace
}  // namespace ddp
