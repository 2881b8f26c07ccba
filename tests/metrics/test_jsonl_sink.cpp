#include <signal.h>
#include <sys/resource.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <limits>

#include "runtime/base/error.h"
#include "runtime/metrics/jsonl_sink.h"
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
  r.tokens = 64;
  r.step_ms = 12.3456;
  r.data_wait_ms = 0.25;
  r.exposed_comm_ms = 1;
  r.samples_seen = 32 * step;
  return r;
}

TEST_CASE("a step is one line with the documented keys") {
  CHECK(json_line(record(7)) ==
        R"({"type":"step","step":7,"loss":0.10000000000000001,"lr":0.0040000000000000001,"grad_norm":1.5,)"
        R"("tokens_per_s":5184.033,"step_ms":12.346,"data_wait_ms":0.250,"exposed_comm_ms":1.000,"samples_seen":224,)"
        R"("applied_steps":6,"loss_scale":65536,"skipped":false})");
  CHECK(json_line(EvalRecord{8, 2.5, 3.25}) == R"({"type":"eval","step":8,"loss":2.5,"bits_per_byte":3.25})");
}

TEST_CASE("a skipped step names the tensor, and the rank where one is to blame") {
  StepRecord r = record(7);
  r.skipped = {.tensor = "wte.weight", .rank = 2, .next_loss_scale = 32768};
  CHECK(json_line(r).ends_with(R"("loss_scale":65536,"skipped":true,"non_finite":"wte.weight","non_finite_rank":2})"));
  r.skipped->rank = -1;
  CHECK(json_line(r).ends_with(R"("skipped":true,"non_finite":"wte.weight","non_finite_rank":null})"));
}

TEST_CASE("numbers that JSON does not have are null") {
  StepRecord r = record(1);
  r.loss = NAN;
  r.grad_norm = INFINITY;
  r.step_ms = 0;
  const std::string line = json_line(r);
  CHECK(line.find(R"("loss":null,)") != std::string::npos);
  CHECK(line.find(R"("grad_norm":null,"tokens_per_s":null,)") != std::string::npos);
  CHECK(json_line(EvalRecord{8, 2.5, NAN}) == R"({"type":"eval","step":8,"loss":2.5,"bits_per_byte":null})");
}

TEST_CASE("a loss reads back to the same bits") {
  for (double loss :
       {0.1 + 0.2, 5.5451774444795623, std::nextafter(2.0, 3.0), 1e-300, 5e-324, std::numeric_limits<double>::max()}) {
    const std::string line = json_line(EvalRecord{1, loss, 0});
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
      if (step % 2 == 0) sink.write(EvalRecord{step, 2, 3});
      if (step == 2 || step == 4) expected += json_line(EvalRecord{step, 2, 3}) + "\n";
    }
  }
  {
    JsonlSink sink(file.path, 4);
    CHECK(file.text() == expected);
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
    JsonlSink sink(file.path, 5);
    CHECK(file.text() == first);
  }
}

TEST_CASE("a fresh start begins an empty file") {
  MetricsFile file;
  file.put(json_line(EvalRecord{0, 1, 1}) + "\n");
  JsonlSink sink(file.path, 0);
  CHECK(file.text().empty());
}

TEST_CASE("a line that does not fit on the disk leaves nothing of itself") {
  MetricsFile file;
  JsonlSink sink(file.path, 0);
  sink.write(record(1));
  const std::string before = file.text();
  rlimit old;
  ::getrlimit(RLIMIT_FSIZE, &old);
  const rlimit limit{before.size() + 10, old.rlim_max};
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  ::setrlimit(RLIMIT_FSIZE, &limit);
  int code = 0;
  try {
    sink.write(record(2));
  } catch (const Error& error) {
    code = int(error.code());
  }
  ::setrlimit(RLIMIT_FSIZE, &old);
  ::signal(SIGXFSZ, handler);
  CHECK(code == 74);
  CHECK(file.text() == before);
  sink.write(record(3));
  CHECK(file.text() == before + json_line(record(3)) + "\n");
}

}  // namespace
}  // namespace ddp
