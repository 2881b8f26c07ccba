// Several models in one registry: whose keys there are, formats of data, keys of the past.
#include <fmt/core.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <set>
#include <sstream>

#include "runtime/base/fs.h"
#include "runtime/config/fields.h"
#include "tests/config/support.h"

using namespace ddp;
using namespace ddp::test;
using Catch::Contains;

namespace {

// A model with a key of its own, one that GPT-2 has too, and one in another section.
struct ToyOptions {
  int64_t channels = 3, layers = 7;
  double smoothing = 0.0;
};
constexpr Field kToyModel[] = {
    {.key = "channels", .at = option<ToyOptions, &ToyOptions::channels>, .range = {1, 9}, .meaning = "of a picture"},
    {.key = "layers", .at = option<ToyOptions, &ToyOptions::layers>, .range = {1, 9}, .meaning = "of the toy"},
};
constexpr Field kToyTrain[] = {
    {.key = "smoothing", .at = option<ToyOptions, &ToyOptions::smoothing>, .range = {0, 1}, .meaning = "of labels"},
};
constexpr Section kToySections[] = {{"model", kToyModel}, {"train", kToyTrain}};
constexpr ModelKind kToy = {
    .name = "toy",
    .sections = kToySections,
    .initial_options = [] { return std::any(ToyOptions{}); },
    .resolve =
        [](Config& config, const GivenKeys& given) {
          auto& options = options_of<ToyOptions>(config);
          if (!given.contains("model.layers")) options.layers = options.channels + 1;
        },
    .check = [](const Config&) {},
};
const ModelKind* const kModels[] = {&gpt2::kKind, &kToy};
constexpr DataFormat kFormats[] = {{.name = "bytes", .vocab = 256}, {.name = "tokens"}, {.name = "pictures"}};
constexpr RetiredKey kRetired[] = {
    {.key = "train.seed_value", .now = "train.seed"},
    {.key = "schedule.decay", .now = {}},
    {.key = "io.threads", .now = "data.num_workers"},
    {.key = "log.batches", .now = "log.every", .times = "train.micro_batch"},
};
const ConfigRegistry kTwo = {.models = kModels, .formats = kFormats, .retired = kRetired};

const std::string kToyText = kMinimal + "model: {name: toy}\n";

Config parse_two(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return parse_config(text, "t.yaml", kTwo, overrides);
}
Failure failure_two(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return failure_of([&] { parse_two(text, overrides); });
}

}  // namespace

TEST_CASE("model.name is read first, from the file or the last override, and says which keys there are") {
  CHECK(parse_two(kMinimal).model.name == "gpt2");  // the first of the registry
  const Config in_file = parse_two(kMinimal + "train: {smoothing: 0.5}\nmodel: {channels: 4, name: toy}\n");
  CHECK(options_of<ToyOptions>(in_file).channels == 4);
  CHECK(options_of<ToyOptions>(in_file).smoothing == 0.5);
  CHECK(options_of<ToyOptions>(in_file).layers == 5);
  const Config on_command_line =
      parse_two(kMinimal + "model: {name: gpt2}\n", {"model.channels=2", "model.name=gpt2", "model.name=toy"});
  CHECK(on_command_line.model.name == "toy");
  CHECK(options_of<ToyOptions>(on_command_line).channels == 2);
  CHECK(options_of<gpt2::Options>(parse_two(kToyText, {"model.name=gpt2", "model.layers=2"})).layers == 2);
}

TEST_CASE("a key of another model is refused with the model's name, an unknown one with the nearest of this model") {
  const Failure foreign = failure_two(kToyText + "train:\n  recompute: gelu\n");
  CHECK(foreign.code == 78);
  CHECK_THAT(foreign.message, Catch::StartsWith("t.yaml:4:3: train.recompute is a key of model gpt2, and model.name is "
                                                "toy"));
  CHECK_THAT(failure_two(kMinimal, {"model.channels=2"}).message,
             Catch::StartsWith("--set model.channels=2: model.channels is a key of model toy, and model.name is gpt2"));
  CHECK_THAT(failure_two(kToyText, {"model.chanels=2"}).message, Contains("did you mean model.channels?"));
  CHECK_THAT(failure_two(kMinimal, {"model.chanels=2"}).message, !Contains("channels"));
}

TEST_CASE("a model that the registry does not have is refused with those that it has") {
  const Failure f = parse_failure(kToyText);
  CHECK(f.code == 78);
  CHECK_THAT(f.message, Catch::StartsWith("t.yaml:2:15: model.name is \"toy\"") && Contains("available: gpt2"));
  CHECK_THAT(failure_two(kMinimal, {"model.name=gpt3"}).message,
             Catch::StartsWith("--set model.name=gpt3: ") && Contains("gpt2, toy (nearest: gpt2)"));
}

TEST_CASE("a format of data is one of the caller's list") {
  CHECK(parse_two(kToyText, {"data.format=pictures"}).data.format == "pictures");
  CHECK_THAT(parse_failure(kMinimal, {"data.format=pictures"}).message, Contains("available: bytes, tokens"));
}

TEST_CASE("every model's configuration prints and reads back, and its own keys count for digest and resume") {
  const Config toy = parse_two(kToyText, {"model.channels=4", "train.smoothing=0.25"});
  CHECK(flatten(parse_two(to_yaml(toy))) == flatten(toy));
  CHECK_THAT(to_yaml(toy), Contains("name: toy\n  channels: 4\n  layers: 5\n  init_from") &&
                               Contains("grad_dtype: auto\n  smoothing: 0.25\n  seed"));
  Config other = toy;
  options_of<ToyOptions>(other).smoothing = 0.5;
  CHECK(config_digest(other) != config_digest(toy));
  CHECK(change_texts(toy, other) == std::vector<std::string>{"train.smoothing: 0.25 became 0.5"});
  CHECK(change_texts(toy, parse_two(kMinimal)) == std::vector<std::string>{"model.name: toy became gpt2"});
}

TEST_CASE("explain tells the common keys of a section and each model's") {
  const std::string model = explain("model", kTwo);
  CHECK(model.find("`model.init_from`") < model.find("With `model.name: gpt2`"));
  CHECK(model.find("`model.width`") < model.find("With `model.name: toy`"));
  CHECK(model.find("`model.channels`") > model.find("With `model.name: toy`"));
  const std::string layers = explain("model.layers", kTwo);  // of both
  CHECK_THAT(layers, Contains("transformer blocks") && Contains("model    gpt2") && Contains("of the toy") &&
                         Contains("model    toy"));
  CHECK_THAT(explain("model.name", kTwo), Contains("default  gpt2") && Contains("range    gpt2, toy"));
}

TEST_CASE("a retired key means in a stored text what it means now, and a user is told the new key") {
  const std::string old = kMinimal +
                          "log: {batches: 5}\ntrain: {seed_value: 9, micro_batch: 4}\nschedule: {decay: {a: [1]}}\n"
                          "io:\n  threads: 3\n";
  const Config config = parse_stored_config(old, "manifest.json", kTwo);
  CHECK(config.train.seed == 9);
  CHECK(config.data.num_workers == 3);
  CHECK(config.log.every == 20);
  CHECK_THAT(failure_of([&] { parse_stored_config(kMinimal + "io: {thread: 3}", "manifest.json", kTwo); }).message,
             Contains("unknown key \"io.thread\""));
  CHECK_THAT(failure_of([&] { parse_stored_config(kMinimal + "train: {seed_value: x}", "m", kTwo); }).message,
             Contains("train.seed is \"x\""));

  const auto message = [](const std::string& text, const std::vector<std::string>& overrides) {
    const Failure f = failure_two(text, overrides);
    CHECK(f.code == 78);
    return f.message;
  };
  CHECK_THAT(
      message(kMinimal + "train:\n  seed_value: 9\n", {}),
      Catch::StartsWith("t.yaml:3:3: train.seed_value is a key of earlier versions") && Contains("use train.seed"));
  CHECK_THAT(message(kMinimal, {"train.seed_value=9"}), Contains("use train.seed"));
  CHECK_THAT(message(kMinimal, {"io.threads=9"}), Contains("use data.num_workers"));
  CHECK_THAT(message(kMinimal + "io: {threads: 9}\n", {}), Contains("use data.num_workers"));
  CHECK_THAT(message(kMinimal, {"schedule.decay=9"}), Contains("it has no effect any more"));
  const std::vector<std::string> batches = {"log.batches=9"};
  const Config noted = parse_config(kMinimal, "t.yaml", kTwo, batches);
  CHECK(noted.log.every == 9 * noted.train.micro_batch);
  REQUIRE(noted.notes.size() == 1);
  CHECK_THAT(noted.notes[0], Contains("use log.every: this value times train.micro_batch"));
  const std::vector<std::string> typed = {"train.seed_value=3"};
  CHECK_THAT(failure_of([&] { parse_stored_config(old, "config.yaml", kTwo, typed); }).message,
             Catch::StartsWith("--set train.seed_value=3") && Contains("use train.seed"));
  const std::vector<std::string> changed = {"train.seed=17"};
  CHECK(parse_stored_config(old, "config.yaml", kTwo, changed).train.seed == 17);
}

TEST_CASE("the text that an old run stored reads and prints to itself, but for keys that went away or came later") {
  std::string text = read_text(std::filesystem::path(DDP_SOURCE_DIR) / "tests/integration/old_run/run/config.yaml");
  const std::string now = to_yaml(parse_stored_config(text, "config.yaml", config_registry()));
  const std::string batches = "\n  batches: 2\n";  // of 2 samples
  REQUIRE(text.find(batches) != std::string::npos);
  text.replace(text.find(batches), batches.size(), "\n  samples: 4\n");
  std::istringstream lines(text);
  size_t at = 0;
  for (std::string line; std::getline(lines, line);) {
    CAPTURE(line);
    const size_t found = now.find(line + "\n", at);
    REQUIRE(found != std::string::npos);
    at = found + line.size() + 1;
  }
  CHECK(at == now.size());
}

TEST_CASE("a user who counts an evaluation's micro-batches, as earlier versions did, is told to count samples") {
  const Config config = parse(kMinimal, {"eval.batches=2"});
  CHECK(config.eval.samples == 2 * config.train.micro_batch);
  REQUIRE(config.notes.size() == 1);
  CHECK(config.notes[0] ==
        "--set eval.batches=2: eval.batches is a key of earlier versions, and read so (use eval.samples: this value "
        "times train.micro_batch)");
}

TEST_CASE("what a preset sets is said by its model's list, and counts as given where it is the initial value too") {
  const ConfigRegistry& registry = config_registry();
  for (const ModelKind* model : registry.models) {
    const auto sections = sections_of(*model);
    const std::string base = fmt::format("data: {{train: a}}\nmodel: {{name: {}", model->name);
    const auto of_model = [&](const std::string& text) {
      std::map<std::string, std::string> values;
      for (const auto& [key, value] : flatten(parse(text + "}\n")))
        if (key.starts_with("model.")) values[key] = value;
      return values;
    };
    std::set<std::string> set, listed;
    for (const std::string_view word : choices_of(*find_field(sections, "model", "preset"), registry)) {
      const std::string preset = fmt::format("{}, preset: {}", base, word);
      const auto with = of_model(preset);
      for (const auto& [key, value] : of_model(base))
        if (with.at(key) != value && key != "model.preset") set.insert(key);
    }
    for (const std::string_view key : model->preset_keys) listed.insert(full_key("model", key));
    CAPTURE(model->name);
    CHECK(std::ranges::includes(listed, set));  // GPT-2's context and vocab are what they are without
  }
  const Defaults deeper{"c", {"model.layers=24"}};
  const Config c = parse_config(kMinimal + "model: {preset: gpt2-small}", "t.yaml", config_registry(), {}, {}, deeper);
  CHECK(options_of<gpt2::Options>(c).layers == 12);
}
