#include <set>

#include "runtime/base/run_files.h"
#include "tests/checkpoint/fixture.h"

namespace ddp {
namespace {

namespace fs = std::filesystem;
using test::SmallRun;

std::vector<int64_t> steps_in(const fs::path& folder) {
  std::vector<int64_t> steps;
  for (const Checkpoint& c : list_checkpoints(folder)) steps.push_back(c.step);
  return steps;
}

size_t entries_in(const fs::path& folder) {
  return size_t(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

struct Loaded {
  std::vector<float> params, model_state, exp_avg, exp_avg_sq;
  TrainingState state;

  Loaded(const fs::path& path, const SmallRun& run)
      : params(run.params.size(), 9.0f),
        model_state(run.model_state.size(), 9.0f),
        exp_avg(params),
        exp_avg_sq(params) {
    state = load_checkpoint(path, {run.layout, params.data(), run.state_layout, model_state.data()},
                            {{"exp_avg", exp_avg.data()}, {"exp_avg_sq", exp_avg_sq.data()}});
  }
};

TEST_CASE("a checkpoint comes back bit for bit, with zeros for padding") {
  test::TemporaryFolder folder;
  SmallRun run;
  const CommittedCheckpoint done = write_checkpoint(folder.path / "checkpoints", run.content(3), 2);
  CHECK(done.checkpoint.step == 3);
  CHECK(done.checkpoint.path == folder.path / "checkpoints" / "step-00000003");
  CHECK(done.bytes == int64_t(fs::file_size(done.checkpoint.path / kModelFile) +
                              fs::file_size(done.checkpoint.path / kOptimizerFile)));
  const Loaded loaded(done.checkpoint.path, run);
  CHECK(loaded.params == run.params);
  CHECK(loaded.model_state == run.model_state);
  CHECK(loaded.exp_avg == run.exp_avg);
  CHECK(loaded.exp_avg_sq == run.exp_avg_sq);
  CHECK(loaded.state == run.state);
  CHECK(verify_checkpoint(done.checkpoint.path).state == run.state);
}

TEST_CASE("the files for others are in the manifest: a changed one is found, and none need be there") {
  test::TemporaryFolder folder;
  SmallRun run;
  const auto path = write_checkpoint(folder.path, run.content(1), 1).checkpoint.path;
  CHECK(read_text(path / "config.json") == "{}\n");
  CHECK(verify_checkpoint(path).files.size() == 4);
  test::write_bytes(path / "config.json", "{ \n");
  CHECK(test::failure([&] { verify_checkpoint(path); }) == 65);
  CheckpointContent without = run.content(2);
  without.texts.clear();
  const auto older = write_checkpoint(folder.path, without, 1).checkpoint.path;
  CHECK(verify_checkpoint(older).files.size() == 2);
  CHECK(Loaded(older, run).params == run.params);
}

TEST_CASE("a prefix of the model's file alone is written before all but one name, and read with and without") {
  test::TemporaryFolder folder;
  SmallRun run;
  const auto older = write_checkpoint(folder.path / "older", run.content(1), 1).checkpoint.path;
  run.layout.set_saved_names({.model_prefix = "transformer.", .without_prefix = "wte.weight"});
  const auto newer = write_checkpoint(folder.path / "newer", run.content(1), 1).checkpoint.path;
  const auto names = [](const fs::path& file) {
    std::set<std::string> names;
    const SafetensorsReader reader(file);
    for (const SavedTensor& t : reader.tensors()) names.insert(t.name);
    return names;
  };
  CHECK(names(newer / kModelFile) == std::set<std::string>{"transformer.h.0.attn.c_attn.weight", "wte.weight",
                                                           "transformer.ln_0.running_mean", "transformer.ln_f.weight"});
  CHECK(names(newer / kOptimizerFile) == names(older / kOptimizerFile));
  for (const fs::path& path : {older, newer}) {
    const Loaded loaded(path, run);
    CHECK(loaded.params == run.params);
    CHECK(loaded.model_state == run.model_state);
    CHECK(loaded.exp_avg == run.exp_avg);
  }
}

TEST_CASE("padded rows are not saved, whatever they hold") {
  test::TemporaryFolder folder;
  SmallRun run;
  const Param& wte = run.layout.params().back();
  run.params[size_t(wte.offset + 13 * 3)] = 7.0f;
  const auto path = write_checkpoint(folder.path, run.content(1), 1).checkpoint.path;
  const SafetensorsReader model(path / kModelFile);
  const auto saved =
      std::find_if(model.tensors().begin(), model.tensors().end(), [](auto& t) { return t.name == "wte.weight"; });
  REQUIRE(saved != model.tensors().end());
  CHECK(saved->shape == std::vector<int64_t>{13, 3});
  CHECK(Loaded(path, run).params[size_t(wte.offset + 13 * 3)] == 0.0f);
}

TEST_CASE("equal weights make equal tensor files, whatever the rest of the state") {
  test::TemporaryFolder folder;
  SmallRun run;
  const auto first = write_checkpoint(folder.path / "a", run.content(1), 1).checkpoint.path;
  run.state.config_yaml = "train: {micro_batch: 4}\n";
  run.state.samples_seen = 1;
  const auto second = write_checkpoint(folder.path / "b", run.content(2), 1).checkpoint.path;
  CHECK(read_text(first / kModelFile) == read_text(second / kModelFile));
  CHECK(read_text(first / kOptimizerFile) == read_text(second / kOptimizerFile));
}

TEST_CASE("the keep newest checkpoints stay") {
  test::TemporaryFolder folder;
  SmallRun run;
  for (int64_t step : {5, 10, 15, 100'000'000}) write_checkpoint(folder.path, run.content(step), 2);
  CHECK(steps_in(folder.path) == std::vector<int64_t>{15, 100'000'000});
  CHECK(entries_in(folder.path) == 2);
}

TEST_CASE("the best stays whatever is kept, is no step, and is replaced as one") {
  test::TemporaryFolder folder;
  SmallRun run;
  const fs::path best = folder.path / "best";
  CHECK_FALSE(find_best(folder.path));
  for (int64_t step : {5, 10, 15}) {
    write_checkpoint(folder.path, run.content(step), 1);
    if (step < 15) link_checkpoint(folder.path / step_name(step), best);
  }
  CHECK(steps_in(folder.path) == std::vector<int64_t>{15});
  CHECK(entries_in(folder.path) == 2);
  REQUIRE(find_best(folder.path));
  CHECK(find_best(folder.path)->step == 10);
  CHECK(find_best(folder.path)->path == best);
  CHECK_FALSE(fs::is_symlink(best));
  CHECK(verify_checkpoint(best).state.step() == 10);
  // Its files are its own: what replaces the step's leaves them alone.
  link_checkpoint(folder.path / step_name(15), best);
  SmallRun other(0.75f);
  write_checkpoint(folder.path, other.content(15), 1);
  CHECK(Loaded(best, run).params == run.params);
  test::write_bytes(best / kManifestFile, "torn");
  CHECK_FALSE(find_best(folder.path));
  CHECK(find_newest_verified(folder.path, [](const std::string&) { FAIL("it is no step"); })->step == 15);
}

TEST_CASE("a best that cannot be linked leaves the old one") {
  test::TemporaryFolder folder;
  SmallRun run;
  for (int64_t step : {1, 2}) write_checkpoint(folder.path, run.content(step), 2);
  link_checkpoint(folder.path / step_name(1), folder.path / kBestName);
  fs::remove(folder.path / step_name(2) / kModelFile);
  fs::create_directory(folder.path / step_name(2) / kModelFile);  // no link and no copy is made of it
  CHECK(test::failure([&] { link_checkpoint(folder.path / step_name(2), folder.path / kBestName); }) == 74);
  CHECK(verify_checkpoint(folder.path / kBestName).state.step() == 1);
  CHECK(entries_in(folder.path) == 3);
}

TEST_CASE("a commit removes no checkpoint of a later step, and does not count it among those to keep") {
  test::TemporaryFolder folder;
  SmallRun run;
  for (int64_t step : {10, 20, 30}) write_checkpoint(folder.path, run.content(step), 3);
  write_checkpoint(folder.path, run.content(15), 1);
  CHECK(steps_in(folder.path) == std::vector<int64_t>{15, 20, 30});
}

TEST_CASE("a checkpoint of the same step is replaced") {
  test::TemporaryFolder folder;
  SmallRun before(0.25f), after(0.75f);
  write_checkpoint(folder.path, before.content(4), 2);
  const auto path = write_checkpoint(folder.path, after.content(4), 2).checkpoint.path;
  verify_checkpoint(path);
  CHECK(Loaded(path, after).params == after.params);
  CHECK(entries_in(folder.path) == 1);
}

TEST_CASE("what a dead run left half-done is cleared away, and a checkpoint about to be replaced comes back") {
  test::TemporaryFolder folder;
  SmallRun run;
  const auto path = write_checkpoint(folder.path, run.content(7), 2).checkpoint.path;
  write_checkpoint(folder.path, run.content(8), 2);
  fs::rename(path, folder.path / ".replaced-step-00000007");
  fs::copy(folder.path / "step-00000008", folder.path / ".replaced-step-00000008");
  fs::create_directory(folder.path / ".tmp-step-00000009");
  test::write_bytes(folder.path / ".tmp-step-00000009" / kModelFile, "half");
  fs::create_directory(folder.path / ".removed-step-00000001");
  CHECK(steps_in(folder.path) == std::vector<int64_t>{8});

  recover_checkpoints(folder.path);
  CHECK(steps_in(folder.path) == std::vector<int64_t>{7, 8});
  CHECK(entries_in(folder.path) == 2);
  verify_checkpoint(path);
}

TEST_CASE("a leftover of the same step does not hinder a write") {
  test::TemporaryFolder folder;
  SmallRun run;
  fs::create_directory(folder.path / ".tmp-step-00000002");
  test::write_bytes(folder.path / ".tmp-step-00000002" / "junk", "junk");
  const auto path = write_checkpoint(folder.path, run.content(2), 1).checkpoint.path;
  CHECK(entries_in(path) == 5);
  CHECK(entries_in(folder.path) == 1);
}

TEST_CASE("folders and files of other names are no checkpoints") {
  test::TemporaryFolder folder;
  for (const char* name : {"step-5", "step-0000000x", "step-", "step--0000001", "notes"})
    fs::create_directory(folder.path / name);
  test::write_bytes(folder.path / "step-00000005", "a file");
  CHECK(list_checkpoints(folder.path).empty());
  CHECK(list_checkpoints(folder.path / "none").empty());
}

TEST_CASE("a checkpoint of another model is refused by name before anything is read") {
  test::TemporaryFolder folder;
  SmallRun run;
  const auto path = write_checkpoint(folder.path, run.content(1), 1).checkpoint.path;
  ParamLayout other;
  other.add("ln_f.weight", {8}, false);
  other.add("wte.weight", {16, 3}, true, {}, {13, 3});
  other.add("wpe.weight", {2, 3}, true);
  std::vector<float> params(size_t(other.flat_elements()), 9.0f), m = params, v = params;
  std::string message;
  CHECK(test::failure(
            [&] {
              load_checkpoint(path, {other, params.data(), run.state_layout, run.model_state.data()},
                              {{"exp_avg", m.data()}, {"exp_avg_sq", v.data()}});
            },
            &message) == 78);
  CHECK(message == (path / kModelFile).string() +
                       " is of another model: ln_f.weight is [7], the model's is [8]; wpe.weight is missing, the "
                       "model's is [2, 3]; h.0.attn.c_attn.weight is unknown to the model");
  CHECK(params == m);
}

}  // namespace
}  // namespace ddp
