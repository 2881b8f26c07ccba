// Data that turn out to be bad in the middle of a run: what was trained before is committed, bit for bit what a run
// that was stopped there has, and the rank that met them fails with their error; the others are its victims.
#include <algorithm>
#include <catch2/catch.hpp>
#include <numeric>

#include "runtime/data/sampler.h"
#include "tests/train/trainer_runs.h"

using namespace ddp;
using namespace ddp::test;
using Catch::Contains;

namespace {

constexpr int64_t kSamples = 100;

// Samples of numbers, of which one, by its place in the stream's first epoch or in the evaluation, cannot be read. What
// it takes to look through them beforehand is told, and done by what a test puts here.
int64_t bad_in_training = -1, bad_in_evaluation = -1;
int64_t doubtful_bytes = 0;
std::function<void(const DataCheck&)> on_check;

class Numbers final : public DataSource {
 public:
  explicit Numbers(const SourceRequest& request) : DataSource(request.split, request.seed) {}
  int64_t num_samples() const override { return kSamples; }
  std::string fingerprint() const override { return "numbers"; }
  int64_t unchecked_bytes(const std::filesystem::path&) const override { return doubtful_bytes; }
  void check(const DataCheck& how) const override { on_check(how); }

 private:
  void fill_sample(HostBatch& batch, int64_t i, const Draw& draw) const override {
    const bool is_train = split() == Split::train;
    const int64_t place = is_train ? bad_in_training : bad_in_evaluation;
    const int64_t bad = place >= 0 && is_train ? sample_index(seed(), 0, place, kSamples) : place;
    if (draw.sample == bad && draw.epoch == 0) throw Error(ExitCode::data, fmt::format("sample {} is bad", bad));
    for (const char* name : {"tokens", "targets"}) {
      const std::span<int32_t> values = batch.sample<int32_t>(name, i);
      std::iota(values.begin(), values.end(), int32_t(draw.sample));
    }
  }
};

SourceMakers numbers() {
  static constexpr std::string_view kInputs[] = {"tokens", "targets"};
  static constexpr SourceMaker kMakers[] = {
      {"bytes",
       [](const SourceRequest& request) -> std::unique_ptr<DataSource> { return std::make_unique<Numbers>(request); },
       kInputs}};
  return kMakers;
}

constexpr const char* kConfig = R"(
model: {{name: gpt2, layers: 1, heads: 2, width: 16, context: 8}}
data: {{format: bytes, train: numbers, valid: numbers}}
train: {{steps: 6, micro_batch: 2, global_batch: 12}}
optimizer: {{lr: 1e-3}}
checkpoint: {{every: 0}}
)";

TrainerRuns make_runs() { return TrainerRuns(kConfig, {config_registry(), model_makers(), numbers()}); }

// Rank `failed` ended with the error, and all others with it.
void check_ends(const std::vector<RankResult>& ends, int failed, const std::string& text) {
  for (int rank = 0; rank < int(ends.size()); ++rank) {
    INFO("rank " << rank << ": " << ends[size_t(rank)].text);
    CHECK(ends[size_t(rank)].code == (rank == failed ? int(ExitCode::data) : kVictim));
  }
  CHECK_THAT(ends[size_t(failed)].text, Contains(text));
}

void check_same_checkpoint(const TrainerRuns& runs, const std::string& a, const std::string& b, int64_t step) {
  for (const char* file : {"model.safetensors", "optimizer.safetensors"})
    CHECK(read_text(runs.checkpoint(a, step) / file) == read_text(runs.checkpoint(b, step) / file));
  const TrainingState x = runs.state(a, step), y = runs.state(b, step);
  CHECK(x.next == y.next);
  CHECK(x.samples_seen == y.samples_seen);
  CHECK(x.optimizer_scalars == y.optimizer_scalars);
}

struct Bad {
  Bad(int64_t training, int64_t evaluation) { bad_in_training = training, bad_in_evaluation = evaluation; }
  ~Bad() { bad_in_training = bad_in_evaluation = -1; }
};

}  // namespace

TEST_CASE("a sample that cannot be read makes its step void on every rank, and the step before is committed") {
  const TrainerRuns runs = make_runs();
  for (const char* precision : {"fp32", "fp16"})
    for (const int ranks : {1, 2, 3}) {
      const std::vector<std::string> settings = {fmt::format("train.precision={}", precision)};
      const std::string whole = fmt::format("whole-{}-{}", precision, ranks);
      REQUIRE(failures(runs.run(whole, ranks, settings, {.stop_after = 3})) == "");
      // Of step 4, in the first and in the last micro-batch of a rank, and the very last sample.
      for (const int64_t place : {36, 41, 44, 47}) {
        const std::string name = fmt::format("bad-{}-{}-{}", precision, ranks, place);
        INFO(name);
        const Bad bad(place, -1);
        const auto ends = runs.run(name, ranks, settings, {});
        check_ends(ends, int((place - 36) / (12 / ranks)), "is bad; step 3 is committed");
        check_same_checkpoint(runs, name, whole, 3);
        CHECK_FALSE(runs.is_committed(name, 4));
        CHECK(runs.metrics(name).size() == 3);
      }
    }
}

TEST_CASE("where the bad sample is mended, the resume goes on as if nothing had been") {
  const TrainerRuns runs = make_runs();
  REQUIRE(failures(runs.run("whole", 2, {}, {})) == "");
  {
    const Bad bad(45, -1);
    runs.run("mended", 2, {}, {});
    check_ends(runs.run("mended", 2, {}, {.resume = "auto"}), 1, "is bad; step 3 is committed");  // still bad
  }
  REQUIRE(failures(runs.run("mended", 2, {}, {.resume = "auto", .ends_with = ExitCode::complete})) == "");
  check_same_checkpoint(runs, "mended", "whole", 6);
}

TEST_CASE("a bad sample of the first step leaves no checkpoint, one of the last step all before it") {
  const TrainerRuns runs = make_runs();
  {
    const Bad bad(0, -1);
    check_ends(runs.run("first", 2, {}, {}), 0, "is bad");
    CHECK_FALSE(std::filesystem::exists(runs.path("first") / "checkpoints"));
  }
  const Bad bad(71, -1);
  check_ends(runs.run("last", 2, {"checkpoint.last=false"}, {}), 1, "is bad; step 5 is committed");
  CHECK(runs.is_committed("last", 5));
}

TEST_CASE("an evaluation that meets a bad sample does not take its step with it") {
  const TrainerRuns runs = make_runs();
  const Bad bad(-1, 7);  // of 10, of which rank 1 has the last ones
  for (const int ranks : {1, 2}) {
    const std::string name = fmt::format("eval-{}", ranks);
    const auto settings = std::vector<std::string>{"eval.every=4", "eval.samples=10"};
    check_ends(runs.run(name, ranks, settings, {}), ranks - 1, "sample 7 is bad; step 4 is committed");
    CHECK(runs.is_committed(name, 4));
    check_ends(runs.run(name, ranks, settings, {.resume = "auto"}), ranks - 1, "sample 7 is bad; step 4 is committed");
  }
}

TEST_CASE("data are looked through before the first step, or beside the steps where they are many") {
  const TrainerRuns runs = make_runs();
  doubtful_bytes = 1000;
  on_check = [](const DataCheck& how) {
    expect(how.verdict.filename().string().starts_with("train"), "{}", how.verdict.string());
    throw Error(ExitCode::data, how.stop == nullptr ? "bad before" : "bad beside");
  };
  check_ends(runs.run("before", 2, {}, {}), 0, "bad before");
  CHECK_FALSE(std::filesystem::exists(runs.path("before") / "checkpoints"));
  const std::vector<std::string> long_run = {"train.steps=100000"};
  check_ends(runs.run("beside", 2, long_run, {.checked_first_bytes = 999}), 0, "bad beside; step ");
  std::vector<std::filesystem::path> committed;
  for (const auto& entry : std::filesystem::directory_iterator(runs.path("beside") / "checkpoints"))
    committed.push_back(entry.path());
  CHECK(committed.size() == 1);
  // A check that finds nothing, and is not at its end when the run is, changes nothing.
  doubtful_bytes = 0;
  REQUIRE(failures(runs.run("unchecked", 2, {}, {})) == "");
  doubtful_bytes = 1000;
  on_check = [](const DataCheck& how) {
    while (how.stop != nullptr && !how.stop->load()) std::this_thread::yield();
  };
  REQUIRE(failures(runs.run("checked", 2, {}, {.ends_with = ExitCode::complete, .checked_first_bytes = 999})) == "");
  check_same_checkpoint(runs, "checked", "unchecked", 6);
  doubtful_bytes = 0;
}
