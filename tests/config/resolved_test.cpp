// Printing, comparing and explaining a resolved configuration, and the documents that must agree with it.
#include <fmt/core.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "runtime/base/fs.h"
#include "runtime/config/fields.h"
#include "runtime/config/nearest.h"
#include "tests/config/support.h"

using namespace ddp;
using namespace ddp::test;
using Catch::Contains;

namespace {

const std::filesystem::path kSource = DDP_SOURCE_DIR;

// A valid value of the field that differs from the one it has, as YAML.
std::string other_value(const Field& field, const Config& config) {
  const Value value = field.at.get(config);
  if (const auto* x = std::get_if<int64_t>(&value)) return std::to_string(*x + 1);
  if (const auto* x = std::get_if<double>(&value)) return *x == 0 ? "0.125" : fmt::format("{}", *x / 2);
  if (const auto* x = std::get_if<bool>(&value)) return *x ? "false" : "true";
  if (const auto* x = std::get_if<std::string>(&value)) {
    for (const std::string_view choice : choices_of(field, *config.registry))
      if (choice != *x) return std::string(choice);
    return field.at.choices == nullptr ? "another" : "";
  }
  if (std::holds_alternative<NumberOrWord>(value)) return "1024";
  if (std::holds_alternative<PathList>(value)) return "[another, 'one more']";
  return "[0.5, 0.75]";
}

}  // namespace

TEST_CASE("a printed configuration reads back to the same values") {
  Config c = parse(kMinimal + "model: {preset: gpt2-medium, layers: 3}");
  c.data.valid.paths = {"a \"b\": #c\\ \xc3\xa9"};
  c.model.init_from = "null";
  c.output_dir = "-x: [";
  c.optimizer.lr = 0.1 + 0.2;
  c.optimizer.weight_decay = std::numeric_limits<double>::denorm_min();
  c.optimizer.betas = {1.0 / 3.0, std::nextafter(1.0, 0.0)};
  c.train.seed = 9'007'199'254'740'993;  // not a double
  c.train.bucket_mb = 1e-5;
  const Config again = parse(to_yaml(c));
  CHECK(flatten(again) == flatten(c));
  CHECK(again.optimizer.lr == c.optimizer.lr);
  CHECK(again.optimizer.weight_decay == c.optimizer.weight_decay);
  CHECK(again.optimizer.betas == c.optimizer.betas);
  CHECK(again.train.seed == c.train.seed);
  CHECK(again.data.valid == c.data.valid);
  CHECK(again.output_dir == c.output_dir);
  CHECK(config_digest(again) == config_digest(c));
  CHECK(to_yaml(again) == to_yaml(c));
}

TEST_CASE("the preset stays as information and the sizes are printed") {
  const Config c = parse(kMinimal + "model: {preset: gpt2-medium, layers: 3}");
  CHECK_THAT(to_yaml(c), Contains("preset: gpt2-medium") && Contains("layers: 3") && Contains("width: 1024"));
}

TEST_CASE("flatten lists every leaf in the order of the YAML") {
  const auto leaves = flatten(parse(kMinimal));
  CHECK(leaves.front() == std::pair<std::string, std::string>("model.name", "gpt2"));
  CHECK(leaves.back() == std::pair<std::string, std::string>("output_dir", "runs/default"));
  CHECK(std::count(leaves.begin(), leaves.end(), std::pair<std::string, std::string>("train.seed", "1")) == 1);
}

TEST_CASE("a resume may change exactly the keys that do not determine the result, and the digest follows") {
  const Config before = parse(kMinimal);
  std::vector<std::string> free_keys, fixed_keys;
  for_each_field(sections_of(model_kind(before)), [&](const std::string& key, const Field& field) {
    const std::string other = other_value(field, before);
    if (other.empty() || key == "model.name") return;  // a single choice; with another model all means something else
    INFO(key << "=" << other);
    Config now = before;
    field.at.set(now, field.at.get(parse(kMinimal, {key + "=" + other})));
    const std::vector<KeyChange> changes = resume_changes(before, now);
    CHECK((config_digest(before) == config_digest(now)) == changes.empty());
    if (changes.empty())
      free_keys.push_back(key);
    else
      CHECK_THAT(changes.at(0).text(), Catch::StartsWith(key + ": ") && Contains(" became "));
    CHECK(conflicts_of(changes, {}).size() == changes.size());  // nothing changes in silence
    if (!conflicts_of(changes, std::vector{key}).empty()) fixed_keys.push_back(key);
  });
  CHECK(fixed_keys == std::vector<std::string>{"model.layers", "model.heads", "model.width", "model.mlp_width",
                                               "model.context", "model.vocab", "model.activation", "model.norm_eps",
                                               "model.tie_embeddings", "data.format", "optimizer.name"});
  CHECK(free_keys == std::vector<std::string>{"model.preset",       "model.init_from",        "data.train",
                                              "data.valid",         "data.token_bytes",       "data.corrupt",
                                              "data.num_workers",   "train.micro_batch",      "train.max_floor_skips",
                                              "train.recompute",    "train.cuda_graph",       "train.nccl_blocking",
                                              "train.bucket_mb",    "train.threads_per_rank", "train.hang_timeout_s",
                                              "optimizer.momentum",  // of another optimizer
                                              "optimizer.nesterov",
                                              "schedule.power",  // of other schedules
                                              "schedule.step_size", "schedule.gamma",         "eval.every",
                                              "eval.samples",       "checkpoint.every",       "checkpoint.keep",
                                              "checkpoint.last",    "checkpoint.best",        "log.every",
                                              "output_dir"});
  CHECK(change_texts(before, parse(kMinimal, {"train.seed=2", "train.steps=7"})) ==
        std::vector<std::string>{"train.steps: 400 became 7", "train.seed: 1 became 2"});
}

TEST_CASE("more steps need no consent where the learning rate of those before does not depend on them") {
  const auto conflicts = [](const std::string& before, const std::string& now, const std::string& schedule) {
    const auto with = [&](const std::string& steps) {
      return parse(kMinimal, {"train.steps=" + steps, "schedule.name=" + schedule});
    };
    return conflicts_of(resume_changes(with(before), with(now)), {}).size();
  };
  CHECK(conflicts("10", "20", "constant") == 0);
  CHECK(conflicts("10", "20", "step") == 0);
  CHECK(conflicts("20", "10", "constant") == 1);
  for (const char* schedule : {"cosine", "linear", "polynomial"}) CHECK(conflicts("10", "20", schedule) == 1);
  const Config cosine = parse(kMinimal), constant = parse(kMinimal, {"train.steps=800", "schedule.name=constant"});
  CHECK(conflicts_of(resume_changes(cosine, constant), std::vector<std::string>{"schedule.name"}).size() == 1);
}

TEST_CASE("momentum that comes or goes is another optimizer's, whoever accepts it") {
  const auto with = [](const std::string& momentum) {
    return parse(kMinimal, {"optimizer.name=sgd", "optimizer.momentum=" + momentum});
  };
  const std::vector<std::string> accepted = {"optimizer.momentum"};
  CHECK(conflicts_of(resume_changes(with("0.9"), with("0.5")), accepted).empty());
  CHECK(conflicts_of(resume_changes(with("0.9"), with("0")), accepted).size() == 1);
  CHECK(conflicts_of(resume_changes(with("0"), with("0.9")), accepted).size() == 1);
}

TEST_CASE("a key that is accepted is one of the model's, or the nearest is named") {
  check_accepted(std::vector<std::string>{"train.steps", "log.every", "model.width"}, parse(kMinimal));
  const Failure f = failure_of([] { check_accepted(std::vector<std::string>{"optimizer.lrr"}, parse(kMinimal)); });
  CHECK(f.code == 64);
  CHECK_THAT(f.message, Contains("--accept-change") && Contains("optimizer.lr?"));
  CHECK_THAT(failure_of([] { check_accepted(std::vector<std::string>{"train"}, parse(kMinimal)); }).message,
             Contains("train is a section; ") || Contains("train is a section (name its keys"));
}

TEST_CASE("what goes on with a run has all of it but its place") {
  const Config run = parse(kMinimal, {"train.steps=7", "output_dir=a", "train.threads_per_rank=3", "model.width=96"});
  const Defaults defaults = defaults_of(run, "run");
  const Config now = parse_config("", "t.yaml", config_registry(), {}, "b", defaults);
  CHECK(now.output_dir == "b");
  CHECK(now.train.threads_per_rank == 0);
  CHECK(now.data.train == run.data.train);
  CHECK(change_texts(run, now).empty());
}

TEST_CASE("a given schedule or optimizer takes no default that it does not read") {
  const Config run = parse(kMinimal, {"schedule.name=step", "schedule.step_size=7", "schedule.warmup_steps=3"});
  const Defaults defaults = defaults_of(run, "run");
  const Config now = parse_config("schedule: {name: constant}", "t.yaml", config_registry(), {}, {}, defaults);
  CHECK(now.schedule.step_size == ScheduleConfig().step_size);
  CHECK(now.schedule.warmup_steps == 3);
  CHECK_NOTHROW(check_config(now, 1));
  CHECK(change_texts(run, now) == std::vector<std::string>{"schedule.name: step became constant"});
  CHECK(parse_config("", "t.yaml", config_registry(), {}, {}, defaults).schedule.step_size == 7);
}

TEST_CASE("explain tells type, unit, default and range of a key, a section or everything") {
  CHECK_THAT(explain("train.steps", config_registry()),
             Contains("integer") && Contains("steps") && Contains("400") && Contains("[1, "));
  CHECK_THAT(explain("data.train", config_registry()), Contains("required"));
  CHECK_THAT(explain("eval", config_registry()), Contains("`eval.every`") && !Contains("`train.steps`"));
  for (const auto& [key, value] : flatten(parse(kMinimal)))
    CHECK_THAT(explain("", config_registry()), Contains("`" + key + "`"));
  const Failure f = failure_of([] { explain("train.stpes", config_registry()); });
  CHECK(f.code == 64);
  CHECK_THAT(f.message, Contains("train.steps"));
}

TEST_CASE("configs/README.md holds the tables that explain prints") {
  const std::string readme = read_text(kSource / "configs/README.md");
  for (const CommonSection& section : common_sections()) {
    INFO("replace the table of section '" << section.name << "' by: ddp-launch --explain");
    const std::string table =
        section.name.empty() ? explain("", config_registry()).substr(explain("", config_registry()).rfind("\n\n") + 2)
                             : explain(section.name, config_registry());
    CHECK_THAT(readme, Contains(table));
  }
}

TEST_CASE("every recipe in configs/ parses and passes the checks on 1, 2 and 4 ranks") {
  int n_recipes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kSource / "configs")) {
    if (entry.path().extension() != ".yaml") continue;
    ++n_recipes;
    INFO(entry.path());
    for (const int ranks : {1, 2, 4}) CHECK_NOTHROW(check_config(load_config(entry.path(), config_registry()), ranks));
  }
  CHECK(n_recipes >= 2);
}

TEST_CASE("edit distance counts insertions, deletions and replacements, and takes upper for lower case") {
  CHECK(edit_distance("", "") == 0);
  CHECK(edit_distance("abc", "") == 3);
  CHECK(edit_distance("", "abc") == 3);
  CHECK(edit_distance("kitten", "sitting") == 3);
  CHECK(edit_distance("steps", "stpes") == 2);
  CHECK(edit_distance("FP16", "fp16") == 0);
}
