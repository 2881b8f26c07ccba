// What a start goes on from and as what, before anything is entered or started.
#include <catch2/catch.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "launcher/past.h"
#include "models/options_registry.h"
#include "runtime/base/fs.h"
#include "tests/support/environment.h"
#include "tests/support/failure.h"
#include "tests/support/temporary_folder.h"

using namespace ddp;
using Catch::Contains;
namespace fs = std::filesystem;

namespace {

struct Runs {
  test::TemporaryFolder folder;
  fs::path run = folder.path / "run";

  // Whose model.safetensors has `bytes` bytes more than its manifest says.
  fs::path commit(const std::string& name, int steps, int64_t more_bytes = 0) const {
    const fs::path checkpoint = run / "checkpoints" / name;
    fs::create_directories(checkpoint);
    write_text_atomically(checkpoint / "model.safetensors", std::string(size_t(10 + more_bytes), 'x'));
    const nlohmann::json manifest = {{"files", {{"model.safetensors", {{"bytes", 10}}}}},
                                     {"config", "data: {train: $A}\ntrain: {steps: " + std::to_string(steps) + "}\n"}};
    write_text_atomically(checkpoint / "manifest.json", manifest.dump());
    return checkpoint;
  }
};

Config now_with(const std::vector<std::string>& overrides) {
  return parse_config("data: {train: b}\n", "t.yaml", config_registry(), overrides);
}

test::Failure refusal(const std::vector<std::string>& before, const std::vector<std::string>& now,
                      const std::vector<std::string>& accepted = {}) {
  const Past past{"c", now_with(before)};
  return test::failure_of([&] {
    check_changes(past, now_with(now), accepted, [](std::string_view keys) { return "again " + std::string(keys); });
  });
}

}  // namespace

TEST_CASE("auto looks at the newest checkpoint that has the sizes of its manifest") {
  const Runs runs;
  CHECK_FALSE(find_past(runs.run, "auto", config_registry()));
  CHECK_FALSE(find_past(runs.run, "none", config_registry()));
  runs.commit("step-00000010", 10);
  runs.commit("step-00000020", 20);
  runs.commit("best", 30);
  CHECK(find_past(runs.run, "auto", config_registry())->config.train.steps == 20);
  CHECK(find_past(runs.run, "auto", config_registry())->config.data.train.text() == "$A");  // as it was stored
  runs.commit("step-00000020", 20, 1);
  CHECK(find_past(runs.run, "auto", config_registry())->config.train.steps == 10);
  write_text_atomically(runs.run / "checkpoints/step-00000010/manifest.json", "{}");
  const test::Failure none = test::failure_of([&] { find_past(runs.run, "auto", config_registry()); });
  CHECK(none.code == 65);
  CHECK_THAT(none.message, Contains("none of the 2 checkpoints in"));
}

TEST_CASE("a resume names a checkpoint, a run's folder for its newest, or that of its checkpoints") {
  const Runs runs;
  runs.commit("step-00000010", 10);
  const std::string newest = runs.commit("step-00000020", 20).string(), best = runs.commit("best", 30).string();
  const test::EnvironmentVariable variable("RUNS", runs.folder.path.string());
  for (const std::string& typed : {runs.run.string(), runs.run.string() + "/", (runs.run / "checkpoints").string(),
                                   newest, std::string("$RUNS/run")})
    CHECK(fs::equivalent(resume_source(typed), newest));
  CHECK(resume_source(best) == best);
  CHECK(resume_source("auto") == "auto");
  CHECK(resume_source("none") == "none");
  const test::Failure gone = test::failure_of([&] { resume_source((runs.folder.path / "no").string()); });
  CHECK(gone.code == 66);
  CHECK_THAT(gone.message, Contains("/no/manifest.json") && Contains("a run's folder"));
  CHECK(test::failure_of([] { resume_source("$NOT_SET_1/a"); }).code == 78);
}

TEST_CASE("what changes without consent is named with the words that keep it and the command that changes it") {
  const test::Failure one = refusal({}, {"train.seed=2", "optimizer.betas=[0.5, 0.75]"}, {"train.steps"});
  CHECK(one.code == 78);
  CHECK_THAT(one.message,
             Contains("cannot resume c with another configuration: train.seed: 1 became 2, optimizer.betas") &&
                 Contains("--set train.seed=1 --set 'optimizer.betas=[0.9, 0.95]'") &&
                 Contains("again train.steps,train.seed,optimizer.betas"));
  CHECK(refusal({}, {"train.seed=2"}, {"train.seed"}).message.empty());
  CHECK(refusal({}, {"log.every=2", "data.train=c", "model.init_from=w"}).message.empty());
  const test::Failure never = refusal({}, {"train.seed=2", "model.width=16"}, {"model.width"});
  CHECK(never.code == 78);
  CHECK_THAT(never.message, Contains("model.width: 768 became 16, ") &&
                                Contains(", which the state of the run does not fit") && !Contains("again") &&
                                !Contains("train.seed"));
}
