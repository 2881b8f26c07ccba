// From YAML to values: defaults, presets, overrides, and an error with its position for everything else.
#include <fmt/core.h>

#include <catch2/catch.hpp>

#include "runtime/base/fs.h"
#include "tests/config/support.h"
#include "tests/support/temporary_folder.h"

using namespace ddp;
using namespace ddp::test;
using Catch::Contains;

TEST_CASE("values of a file replace the defaults, key by key") {
  const Config c = parse(
      "model: {layers: 2, dropout: 0.1}\n"
      "data:\n  format: bytes\n  train: 'with space.txt'\n"
      "train: {steps: 10, deterministic: true, bucket_mb: 1}\n"
      "optimizer: {lr: 5e-4, betas: [0, .99]}\n"
      "eval:\n"
      "output_dir: out\n");
  const auto& model = options_of<gpt2::Options>(c);
  CHECK(model.layers == 2);
  CHECK(model.heads == 12);
  CHECK(model.dropout == 0.1);
  CHECK(c.data.train == PathList{{"with space.txt"}});
  CHECK(c.train.steps == 10);
  CHECK(c.train.deterministic);
  CHECK(c.train.bucket_mb == 1.0);
  CHECK(c.optimizer.lr == 5e-4);
  CHECK(c.optimizer.betas == std::array<double, 2>{0.0, 0.99});
  CHECK(c.eval.every == 0);
  CHECK(c.output_dir == "out");
}

TEST_CASE("a preset sets the sizes and a size beside it wins") {
  const std::vector<std::array<int64_t, 3>> sizes = {{12, 12, 768}, {24, 16, 1024}, {36, 20, 1280}, {48, 25, 1600}};
  const std::vector<std::string> names = {"gpt2-small", "gpt2-medium", "gpt2-large", "gpt2-xl"};
  for (size_t i = 0; i < names.size(); ++i) {
    const gpt2::Options m = parse_gpt2(kMinimal + "model: {preset: " + names[i] + "}");
    CHECK(std::array<int64_t, 3>{m.layers, m.heads, m.width} == sizes[i]);
    CHECK(m.context == 1024);
    CHECK(m.vocab == 50257);
  }
  const gpt2::Options m = parse_gpt2(kMinimal + "model: {preset: gpt2-xl, context: 256}", {"model.layers=3"});
  CHECK(m.layers == 3);
  CHECK(m.context == 256);
  CHECK(m.width == 1600);
}

TEST_CASE("the vocabulary of bytes is 256 unless a vocabulary or a preset is given") {
  CHECK(parse_gpt2("data: {format: bytes, train: a}").vocab == 256);
  CHECK(parse_gpt2("data: {format: bytes, train: a}\nmodel: {vocab: 300}").vocab == 300);
  CHECK(parse_gpt2("data: {format: bytes, train: a}\nmodel: {preset: gpt2-small}").vocab == 50257);
  CHECK(parse_gpt2("data: {train: a}", {"data.format=bytes"}).vocab == 256);
  CHECK(parse_gpt2("data: {train: a}").vocab == 50257);
}

TEST_CASE("overrides win over the file, the last one over the others") {
  const Config c = parse(kMinimal + "train: {seed: 1}", {"train.seed=2", "train.seed=3", "optimizer.betas=[0.8, 0.9]",
                                                         "output_dir=runs/a=b", "data.valid=\"\""});
  CHECK(c.train.seed == 3);
  CHECK(c.optimizer.betas == std::array<double, 2>{0.8, 0.9});
  CHECK(c.output_dir == "runs/a=b");
  CHECK(c.data.valid.empty());
}

TEST_CASE("a path may be a list of paths, and is printed as what it is") {
  const auto train = [](const std::string& text, const std::vector<std::string>& overrides = {}) {
    return parse(text, overrides).data.train.paths;
  };
  const std::vector<std::string> both = {"a.bin", "b, c.bin"};
  CHECK(train("data: {train: [a.bin, 'b, c.bin']}") == both);
  CHECK(train("data:\n  train:\n    - a.bin\n    - b, c.bin\n") == both);
  CHECK(train("data: {train: x}", {"data.train=[a.bin, \"b, c.bin\"]"}) == both);
  CHECK(train("data: {train: [a.bin]}") == train("data: {train: a.bin}"));
  CHECK(parse(kMinimal + "eval: {every: 0}", {"data.valid=[]"}).data.valid.empty());

  CHECK_THAT(to_yaml(parse("data: {train: [a.bin, 'b, c.bin']}")), Contains("  train: [a.bin, \"b, c.bin\"]\n"));
  CHECK(to_yaml(parse("data: {train: [a.bin]}")) == to_yaml(parse("data: {train: a.bin}")));
  CHECK(PathList{{"a", "b", "c"}}.text() == "a and 2 more");

  std::string many = "[a";
  for (size_t i = 1; i <= kMaxPaths; ++i) many += ",a";
  for (const char* value : {"[]", "[a, \"\"]", "[a, [b]]", "[a, ~]", "{a: b}", "''", "[a, \"b\\n\"]"})
    CHECK(parse_failure(fmt::format("data: {{train: {}}}", value)).code == 78);
  CHECK_THAT(parse_failure("data: {train: " + many + "]}").message, Contains("a list of at most 4096"));
  CHECK_THAT(parse_failure("data: {train: [a, {b: c}]}").message,
             Contains("t.yaml:1:19: data.train is a map; give a path, or a list of paths"));
}

TEST_CASE("several files are refused by a format that takes one path") {
  for (const char* format : {"images", "idx", "cifar10", "cifar100", "synthetic"}) {
    const Config c = parse("data: {train: [a, b]}", {fmt::format("data.format={}", format), "model.name=resnet"});
    const Failure f = failure_of([&] { check_config(c, 1); });
    CHECK(f.code == 78);
    CHECK_THAT(f.message,
               Catch::Equals(fmt::format("data.train names 2 paths, and data.format {} takes one; name one", format)));
  }
}

TEST_CASE("an unknown key is an error with its position and the nearest known key") {
  struct Case {
    std::string text, where, nearest;
  };
  const std::vector<Case> cases = {
      {"data: {train: a}\ntrain:\n  stpes: 3\n", "t.yaml:3:3", "train.steps?"},
      {"data: {train: a}\ntrian: {steps: 3}\n", "t.yaml:2:1", "train?"},
      {"data: {train: a}\ntrain: {lr: 3}\n", "t.yaml:2:9", "optimizer.lr?"},
      {"data: {train: a}\nmicro_batch: 3\n", "t.yaml:2:1", "train.micro_batch?"},
      {"data: {train: a}\noutput_dri: 3\n", "t.yaml:2:1", "output_dir?"},
      {"data: {train: a}\ntrain.steps: 3\n", "t.yaml:2:1", "nested"},
      {"data: {train: a}\n<<: {steps: 3}\n", "t.yaml:2:1", "merge keys"},
      {"data: {train: a}\n'': 3\n", "t.yaml:2:1", "did you mean"},
  };
  for (const Case& c : cases) {
    INFO(c.text);
    const Failure f = parse_failure(c.text);
    CHECK(f.code == 78);
    CHECK_THAT(f.message, Contains(c.where + ": unknown key") && Contains(c.nearest));
  }
}

TEST_CASE("what YAML allows and a configuration must not is an error with its position") {
  struct Case {
    std::string text, where, what;
  };
  const std::vector<Case> cases = {
      {"data: {train: a}\ndata: {train: b}", "t.yaml:2:1", "duplicate key"},
      {"data:\n  train: a\n  train: b", "t.yaml:3:3", "first set at t.yaml:2:3"},
      {"data: &x {train: a}", "t.yaml:1:", "anchor"},
      {"data: {train: &x a, valid: *x}", "t.yaml:1:", "anchor"},
      {"data: {train: *x}", "t.yaml:1:15", ""},
      {"data: {train: *.bin}", "t.yaml:1:15", "quotes"},
      {"data: {train: a}\n---\ndata: {train: b}", "t.yaml:", "second document"},
      {"data: {train: a}\n...\n---\n", "t.yaml:", "second document"},
      {"data: {train: !!str a}", "t.yaml:1:15", "tag"},
      {"data: {[a]: b}", "t.yaml:1:8", "not text"},
      {"data: {train: a", "t.yaml:1:", "not YAML"},
      {"data: [a]", "t.yaml:1:7", "section"},
      {"data: a", "t.yaml:1:7", "section"},
      {"- data", "t.yaml:1:1", "not a map"},
      {"data: {train: [[[[[[[[[[[[a]]]]]]]]]]]]}", "t.yaml:1:", "deeper"},
      {"data: {train: " + std::string(5000, 'a') + "}", "t.yaml:1:15", "5000 bytes"},
      {"data: {train: a}\n#" + std::string(1100000, 'a'), "t.yaml", "limit"},
      {"data: {train: \"a\xff\"}", "t.yaml:1:17", "0xff"},
      {"data:\n # caf\xc3\xa9 \xc2\x85\n train: a", "t.yaml:2:9", "U+0085"},
      {"data: {train: \"a\x1b\"}", "t.yaml:1:17", "0x1b"},
      {"data: {train: \"a\\x85\"}", "t.yaml:1:15", "data.train holds the control character U+0085"},
      {"data: {train: \"a\\u2028\"}", "t.yaml:1:15", "data.train holds a line separator"},
      {"data: {train: \"a\\tb\"}", "t.yaml:1:15", "data.train holds a tab"},
      {std::string("data:\n {train: a\0}", 18), "t.yaml:2:11", "0x00"},
      {"data: {train: \"a\\0\"}", "t.yaml:1:15", "one line"},
      {"data: {train: \"a\\nb\"}", "t.yaml:1:15", "one line"},
  };
  for (const Case& c : cases) {
    INFO(c.text.substr(0, 100));
    const Failure f = parse_failure(c.text);
    CHECK(f.code == 78);
    CHECK_THAT(f.message, Catch::StartsWith(c.where) && Contains(c.what));
    CHECK(f.message.find('\n') == std::string::npos);
    CHECK(f.message.size() < 400);
  }
}

TEST_CASE("a value of the wrong type or out of range is an error with its position and what works") {
  struct Case {
    std::string section, key, value, hint;
  };
  const std::vector<Case> cases = {
      {"train", "steps", "many", "an integer in [1, 1000000000]"},
      {"train", "steps", "0", "[1, 1000000000]"},
      {"train", "steps", "-1", "[1, 1000000000]"},
      {"train", "steps", "1.5", "an integer"},
      {"train", "steps", "1e3", "an integer"},
      {"train", "steps", "'10'", "an integer"},
      {"train", "steps", "010", "leading zero"},
      {"train", "steps", "0x10", "an integer"},
      {"train", "steps", "1_000", "an integer"},
      {"train", "steps", "[1]", "an integer"},
      {"train", "steps", "{a: 1}", "an integer"},
      {"train", "steps", "99999999999999999999", "an integer"},
      {"train", "seed", "~", "nothing"},
      {"train", "deterministic", "yes", "true or false"},
      {"train", "deterministic", "1", "true or false"},
      {"train", "deterministic", "'true'", "true or false"},
      {"train", "precision", "fp8", "available: fp32"},
      {"train", "bucket_mb", "0", "(0, 1000000]"},
      {"train", "loss_scale", "dynamo", "give dynamic or a finite number in [1e-06, 16777216]"},
      {"train", "loss_scale", "nan", "dynamic or a finite number"},
      {"train", "loss_scale", "inf", "dynamic or a finite number"},
      {"train", "loss_scale", "0", "[1e-06, 16777216]"},
      {"train", "loss_scale", "-1", "[1e-06, 16777216]"},
      {"train", "loss_scale", "1e-46", "[1e-06, 16777216]"},
      {"train", "loss_scale", "1e30", "[1e-06, 16777216]"},
      {"train", "loss_scale", "0x10", "dynamic or a finite number"},
      {"train", "loss_scale", "true", "dynamic or a finite number"},
      {"optimizer", "lr", ".nan", "a finite number"},
      {"optimizer", "lr", "nan", "a finite number"},
      {"optimizer", "lr", "-.inf", "a finite number"},
      {"optimizer", "lr", "inf", "a finite number"},
      {"optimizer", "lr", "1e999", "a finite number"},
      {"optimizer", "lr", "01.5", "leading zero"},
      {"optimizer", "lr", "1e", "a finite number"},
      {"optimizer", "betas", "0.9", "two numbers"},
      {"optimizer", "betas", "[0.9]", "two numbers"},
      {"optimizer", "betas", "[0.9, 1]", "[0, 1)"},
      {"model", "dropout", "1", "[0, 1)"},
      {"model", "preset", "gpt2-smal", "nearest: gpt2-small"},
      {"schedule", "name", "cosin", "nearest: cosine"},
      {"output_dir", "", "[a]", "text"},
      {"output_dir", "", "''", "text that is not empty"},
      {"output_dir", "", "", "nothing"},
  };
  for (const Case& c : cases) {
    const std::string dotted = c.key.empty() ? c.section : c.section + "." + c.key;
    INFO(dotted << " = " << c.value);
    const std::string line = c.key.empty() ? c.section + ": " : c.section + ": {" + c.key + ": ";
    const Failure in_file = parse_failure(kMinimal + line + c.value + (c.key.empty() ? "" : "}"));
    CHECK(in_file.code == 78);
    CHECK_THAT(in_file.message, Catch::StartsWith("t.yaml:2:") && Contains(dotted) && Contains(c.hint));
    const Failure on_command_line = parse_failure(kMinimal, {dotted + "=" + c.value});
    CHECK(on_command_line.code == 78);
    CHECK_THAT(on_command_line.message,
               Catch::StartsWith("--set " + dotted + "=" + c.value + ": ") && Contains(dotted) && Contains(c.hint));
  }
}

TEST_CASE("a faulty override names itself") {
  struct Case {
    std::string override_text, what;
  };
  const std::vector<Case> cases = {
      {"train.stpes=3", "did you mean train.steps?"},
      {"train=3", "name one of its keys: steps"},
      {"train.steps", "no value"},
      {"=3", "unknown key"},
      {".steps=3", "unknown key"},
      {"train.steps.x=3", "did you mean train.steps?"},
      {"output_dir='a", "not YAML"},
      {"train.steps=&a 3", "anchor"},
  };
  for (const Case& c : cases) {
    INFO(c.override_text);
    const Failure f = parse_failure(kMinimal, {c.override_text});
    CHECK(f.code == 78);
    CHECK_THAT(f.message, Catch::StartsWith("--set " + c.override_text + ": ") && Contains(c.what));
  }
}

TEST_CASE("a missing data.train is an error at its section, unless an override gives it") {
  CHECK_THAT(parse_failure("train: {steps: 1}").message, Contains("t.yaml:1:1: data.train is missing"));
  CHECK_THAT(parse_failure("\ndata: {format: bytes}").message, Contains("t.yaml:2:1: data.train is missing"));
  CHECK_THAT(parse_failure("").message, Contains("t.yaml:1:1: data.train is missing"));
  CHECK(parse_failure("data: {train: ''}").code == 78);
  CHECK(parse("", {"data.train=x"}).data.train == PathList{{"x"}});
}

TEST_CASE("a file larger than memory is refused without reading it") {
  const TemporaryFolder folder;
  const auto path = folder.path / "train.bin";
  create_output(path);
  std::filesystem::resize_file(path, uintmax_t{1} << 40);  // sparse
  const Failure f = failure_of([&] { load_config(path, config_registry()); });
  CHECK(f.code == 78);
  CHECK_THAT(f.message, Contains("train.bin") && Contains("is this a configuration?"));
}

TEST_CASE("a missing file is 66 and names the file") {
  const Failure f = failure_of([] { load_config("/no/such/file.yaml", config_registry()); });
  CHECK(f.code == 66);
  CHECK_THAT(f.message, Contains("/no/such/file.yaml"));
}

TEST_CASE("defaults are for keys that nobody gives") {
  const Defaults defaults{"old/config.yaml", {"model.layers=3", "model.width=48", "train.steps=7", "optimizer.lr=0.5"}};
  const auto parse = [&](const std::string& text, const std::vector<std::string>& overrides = {}) {
    return parse_config(text, "t.yaml", config_registry(), overrides, {}, defaults);
  };
  const Config config = parse(kMinimal + "train: {steps: 9}", {"optimizer.lr=0.25"});
  CHECK(config.train.steps == 9);
  CHECK(config.optimizer.lr == 0.25);
  CHECK(options_of<gpt2::Options>(config).layers == 3);
  CHECK(options_of<gpt2::Options>(config).width == 48);

  SECTION("what a given preset sets counts as given") {
    const auto options = options_of<gpt2::Options>(parse(kMinimal + "model: {preset: gpt2-medium, width: 512}"));
    CHECK(options.layers == 24);
    CHECK(options.width == 512);
  }
  SECTION("unless they are of the same preset, and of what was set beside it") {
    const Defaults small{"old/config.yaml", {"model.preset=gpt2-medium", "model.layers=3", "model.width=1024"}};
    const std::string text = kMinimal + "model: {preset: gpt2-medium}";
    const auto options = options_of<gpt2::Options>(parse_config(text, "t.yaml", config_registry(), {}, {}, small));
    CHECK(options.layers == 3);
    CHECK(options.heads == 16);
  }
  SECTION("and those of another model than the given one are passed over") {
    CHECK(model_kind(parse("data: {train: a, format: idx}\nmodel: {name: resnet}")).name == "resnet");
  }
  SECTION("they say the model too") {
    const Defaults resnet{"old/config.yaml", {"model.name=resnet", "model.classes=7"}};
    const Config config = parse_config("data: {train: a, format: idx}", "t.yaml", config_registry(), {}, {}, resnet);
    CHECK(model_kind(config).name == "resnet");
  }
  SECTION("a wrong one names its source") {
    const Defaults wrong{"old/config.yaml", {"train.steps=many"}};
    const Failure failure = failure_of([&] { parse_config(kMinimal, "t.yaml", config_registry(), {}, {}, wrong); });
    CHECK(failure.code == 78);
    CHECK_THAT(failure.message, Contains("old/config.yaml train.steps=many: train.steps"));
  }
}
