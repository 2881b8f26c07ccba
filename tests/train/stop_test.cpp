// A stop that meets an evaluation: the step is committed, the evaluation is left out, and the resume makes it up, so
// that the run in pieces leaves what the unbroken one does.
#include <catch2/catch.hpp>

#include "tests/train/trainer_runs.h"

using namespace ddp;
using namespace ddp::test;

namespace {

constexpr const char* kConfig = R"(
model: {{name: gpt2, layers: 1, heads: 2, width: 16, context: 8}}
data: {{format: bytes, train: {0}/train.txt, valid: {0}/train.txt}}
train: {{steps: 6, micro_batch: 2, global_batch: 12}}
optimizer: {{lr: 1e-3}}
eval: {{every: 2, samples: 10}}
checkpoint: {{every: 0}}
)";

// Called in each micro-batch of an evaluation and of a step, with its number in this process. An entry of an op table
// is a plain function.
std::function<void(int64_t)> on_evaluated, on_trained;
int64_t num_evaluated = 0, num_trained = 0;

void watched_cross_entropy(Stream& stream, const CrossEntropy& a) {
  cpu_op_table().entry<CrossEntropy>()(stream, a);
  const auto& watcher = a.backward ? on_trained : on_evaluated;
  int64_t& count = a.backward ? num_trained : num_evaluated;
  ++count;
  if (watcher) watcher(count);
}

// (type, step, loss) of each line: what must not depend on stops.
std::string lines(const TrainerRuns& runs, const std::string& name) {
  std::string text;
  for (const nlohmann::json& r : runs.metrics(name))
    text += fmt::format("{} {} {}\n", r["type"].get<std::string>(), r["step"].get<int64_t>(), r["loss"].dump());
  return text;
}

// Whether in an evaluation or a step, and in which micro-batch of it, rank `rank` finds that a stop is asked for.
struct Moment {
  int rank = 0;
  int64_t evaluated = 0, trained = 0;  // micro-batches; 0: not there
};

TrainerRuns::How stopped(const Moment& moment, ExitCode ends_with = ExitCode::stopped_early) {
  TrainerRuns::How how{.resume = "auto", .ends_with = ends_with};
  how.table.entry<CrossEntropy>() = watched_cross_entropy;
  how.before = [moment](RankContext& c) {
    if (c.comm.rank() != moment.rank) return;
    const auto stop_at = [&board = c.board](int64_t number) {
      return [&board, number](int64_t n) {
        if (n == number) board->stop_requested.store(1);
      };
    };
    on_evaluated = stop_at(moment.evaluated);
    on_trained = stop_at(moment.trained);
  };
  return how;
}

const TrainerRuns::How kToTheEnd{.resume = "auto", .ends_with = ExitCode::complete};

}  // namespace

TEST_CASE("a stop skips an evaluation or breaks it off, commits, and the resume makes it up before its first step") {
  const TrainerRuns runs(kConfig);
  const auto check = [&](const char* what, int ranks, const Moment& moment) {
    INFO(what << ", " << ranks << " ranks");
    const std::string whole = fmt::format("whole-{}", ranks), name = fmt::format("{}-{}", what, ranks);
    if (!std::filesystem::exists(runs.path(whole))) REQUIRE(failures(runs.run(whole, ranks, {}, kToTheEnd)) == "");
    REQUIRE(failures(runs.run(name, ranks, {}, stopped(moment))) == "");
    CHECK(lines(runs, name).find("eval") == std::string::npos);
    CHECK(runs.is_committed(name, 2));
    CHECK(runs.output(name).find("no evaluation at step 2: the resume makes it up") != std::string::npos);
    for (int resumes = 0; resumes < 2; ++resumes) {  // the second has nothing to do, and makes up nothing
      REQUIRE(failures(runs.run(name, ranks, {}, kToTheEnd)) == "");
      CHECK(lines(runs, name) == lines(runs, whole));
    }
  };
  check("broken-off", 1, {.evaluated = 1});
  check("broken-off", 2, {.rank = 1, .evaluated = 2});
  check("skipped", 1, {.trained = 7});               // of 6 in a step
  check("before-it", 6, {.rank = 5, .trained = 2});  // of 6 ranks one has nothing to evaluate
}

TEST_CASE("a stop in the last evaluation leaves a run that is not complete: the resume does what is missing") {
  const TrainerRuns runs(kConfig);
  REQUIRE(failures(runs.run("whole", 2, {}, kToTheEnd)) == "");
  for (const char* setting : {"checkpoint.last=true", "checkpoint.last=false"}) {         // a stop commits in any case
    REQUIRE(failures(runs.run(setting, 2, {setting}, stopped({.evaluated = 5}))) == "");  // 2 and 3 of 5 each time
    CHECK(runs.is_committed(setting, 6));
    CHECK(lines(runs, setting) != lines(runs, "whole"));
    REQUIRE(failures(runs.run(setting, 2, {setting}, kToTheEnd)) == "");
    CHECK(lines(runs, setting) == lines(runs, "whole"));
  }
}

TEST_CASE("a made-up evaluation can be broken off as well") {
  const TrainerRuns runs(kConfig);
  REQUIRE(failures(runs.run("whole", 2, {}, kToTheEnd)) == "");
  for (int i = 0; i < 3; ++i) REQUIRE(failures(runs.run("cut", 2, {}, stopped({.rank = 1, .evaluated = 1}))) == "");
  CHECK(runs.metrics("cut").size() == 2);
  REQUIRE(failures(runs.run("cut", 2, {}, kToTheEnd)) == "");
  CHECK(lines(runs, "cut") == lines(runs, "whole"));
}

TEST_CASE("a checkpoint that is asked for in an evaluation is written before it goes on") {
  const TrainerRuns runs(kConfig);
  REQUIRE(failures(runs.run("whole", 2, {}, kToTheEnd)) == "");
  TrainerRuns::How how;
  how.table.entry<CrossEntropy>() = watched_cross_entropy;
  how.before = [&](RankContext& c) {
    if (c.comm.rank() != 0) return;  // which has 2 micro-batches, and a third in the evaluation that follows
    on_evaluated = [&, &board = c.board](int64_t n) {
      if (n == 1) board->checkpoint_requests.store(1);
      if (n == 2) expect(runs.is_committed("asked", 2), "no checkpoint of step 2");
    };
  };
  REQUIRE(failures(runs.run("asked", 2, {}, how)) == "");
  CHECK(lines(runs, "asked") == lines(runs, "whole"));
}

TEST_CASE("an evaluation that fails does not cost the commit of its step") {
  const TrainerRuns runs(kConfig);
  TrainerRuns::How how;
  how.table.entry<CrossEntropy>() = watched_cross_entropy;
  how.before = [](RankContext&) { on_evaluated = [](int64_t) { throw Error(ExitCode::data, "bad held-out data"); }; };
  CHECK(runs.run("failed", 1, {"checkpoint.every=2"}, how)[0].code == int(ExitCode::data));
  CHECK(runs.is_committed("failed", 2));
}

TEST_CASE("where a run is stopped between evaluations, none is added") {
  const TrainerRuns runs(kConfig);
  REQUIRE(failures(runs.run("whole", 1, {}, kToTheEnd)) == "");
  REQUIRE(failures(runs.run("parts", 1, {}, {.stop_after = 3, .ends_with = ExitCode::stopped_early})) == "");
  REQUIRE(failures(runs.run("parts", 1, {}, kToTheEnd)) == "");
  CHECK(lines(runs, "parts") == lines(runs, "whole"));
}
