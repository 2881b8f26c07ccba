// What people write who come from elsewhere: other trainers' keys, other languages' values, other editors' files. Each
// is taken for what it means where that is certain, and otherwise named with what to write here.
#include <catch2/catch.hpp>

#include "runtime/base/fs.h"
#include "runtime/config/synonyms.h"
#include "tests/config/support.h"
#include "tests/support/temporary_folder.h"

using namespace ddp;
using namespace ddp::test;
using Catch::Contains;
using Catch::StartsWith;

namespace {

void check_one_line(const Failure& f, const std::string& starts, const std::string& says) {
  CHECK(f.code == 78);
  CHECK_THAT(f.message, StartsWith(starts) && Contains(says));
  CHECK(f.message.find('\n') == std::string::npos);
}

}  // namespace

TEST_CASE("a key of another trainer is told the one here, wherever it stands") {
  struct Row {
    std::string key, here;
  };
  const std::vector<Row> rows = {
      {"n_layer", "use model.layers"},
      {"num_hidden_layers", "use model.layers"},
      {"n_head", "use model.heads"},
      {"n_embd", "use model.width"},
      {"hidden_size", "use model.width"},
      {"Hidden-Size", "use model.width"},
      {"block_size", "use model.context"},
      {"max_position_embeddings", "use model.context"},
      {"vocab_size", "use model.vocab"},
      {"attn_pdrop", "use model.dropout"},
      {"activation_function", "remove it"},
      {"batch_size", "use train.micro_batch: samples of a rank at once"},
      {"per_device_train_batch_size", "use train.micro_batch"},
      {"gradient_accumulation_steps", "use train.global_batch: train.micro_batch x ranks x this"},
      {"max_iters", "use train.steps"},
      {"num_train_epochs", "set train.steps: epochs x samples of data.train / train.global_batch"},
      {"max_grad_norm", "use train.clip_norm"},
      {"bf16", "use train.precision: bf16"},
      {"learning_rate", "use optimizer.lr"},
      {"adam_beta1", "use optimizer.betas: as [0.9, 0.95]"},
      {"warmup_iters", "use schedule.warmup_steps"},
      {"eval_interval", "use eval.every: in steps"},
      {"eval_iters", "use eval.samples: this x the samples of a batch"},
      {"save_steps", "use checkpoint.every"},
      {"logging_steps", "use log.every"},
      {"dataset", "use data.train"},
      {"out_dir", "use output_dir"},
      {"compile", "remove it: nothing is compiled"},
      {"device", "--device cpu|cuda|auto"},
      {"resume_from_checkpoint", "--resume auto|none|PATH"},
  };
  for (const Row& row : rows) {
    INFO(row.key);
    check_one_line(parse_failure(kMinimal + row.key + ": 3"), "t.yaml:2:1: unknown key \"" + row.key + '"', row.here);
    for (const char* section : {"model", "train"})
      check_one_line(parse_failure(kMinimal + section + ":\n  " + row.key + ": 3"), "t.yaml:3:3: unknown key",
                     row.here);
    check_one_line(parse_failure(kMinimal, {"train." + row.key + "=3"}), "--set train." + row.key, row.here);
    check_one_line(parse_failure(kMinimal, {row.key + "=3"}), "--set " + row.key, row.here);
  }
  check_one_line(parse_failure(kMinimal + "training: {steps: 3}"), "t.yaml:2:1", "use train");
}

TEST_CASE("what another trainer's key is called here exists, unless the model has nothing like it") {
  for (const char* model : {"gpt2", "bert", "resnet", "vit"})
    for (const char* name :
         {"n_layer", "block_size", "vocab_size", "num_classes", "patch_size", "max_iters", "out_dir"}) {
      INFO(model << " " << name);
      const Synonym* synonym = find_synonym(name);
      REQUIRE(synonym != nullptr);
      const std::string given = "model: {name: " + std::string(model) + "}\n" + name + ": 3";
      const std::string message = parse_failure(given).message;
      const std::string key(synonym->key);
      if (message.find("use " + key) == std::string::npos) {
        CHECK_THAT(message, Contains("did you mean"));
        CHECK_THAT(parse_failure("data: {train: a}\nmodel: {name: " + std::string(model) + "}", {key + "=x"}).message,
                   Contains("model.name is") || Contains("unknown key"));
      }
    }
}

TEST_CASE("a number that is written in another way is taken, or told as it is written here") {
  CHECK(parse(kMinimal, {"optimizer.lr=+1e-3"}).optimizer.lr == 1e-3);
  CHECK(parse(kMinimal, {"optimizer.lr=.5"}).optimizer.lr == 0.5);
  CHECK(parse(kMinimal, {"optimizer.lr=5."}).optimizer.lr == 5.0);
  CHECK(parse(kMinimal, {"train.steps=+7"}).train.steps == 7);
  CHECK(parse(kMinimal, {"optimizer.betas=[+0.8, +.9]"}).optimizer.betas == std::array{0.8, 0.9});
  struct Row {
    std::string given, says;
  };
  for (const Row& row : {Row{"train.steps=1_000", "[1, 1000000000], written as 1000"},
                         {"train.steps=1,000", "written as 1000"},
                         {"train.steps=1 000", "written as 1000"},
                         {"train.steps=1e3", "written as 1000"},
                         {"train.steps=1000.0", "written as 1000"},
                         {"train.steps=0x10", "written as 16"},
                         {"train.steps=1.5", "\"1.5\"; give an integer in [1, 1000000000]"},
                         {"train.steps=++1", "give an integer"},
                         {"train.steps=+-1", "give an integer"},
                         {"train.steps=+", "give an integer"},
                         {"train.steps=99999999999999999999", "which is too large"},
                         {"train.seed=-99999999999999999999", "which is too large"},
                         {"optimizer.lr=1e999", "which is too large"},
                         {"optimizer.lr=1_0.5", "written as 10.5"},
                         {"train.loss_scale=65_536", "written as 65536"},
                         {"train.deterministic=yes", "true or false: here true"},
                         {"train.deterministic=True", "true or false: here true"},
                         {"train.deterministic=OFF", "true or false: here false"},
                         {"train.deterministic=0", "true or false: here false"},
                         {"train.deterministic=maybe", "give true or false"},
                         {"train.seed=None", "give an integer"},
                         {"train.seed=null", "nothing"},
                         {"output_dir=None", "text that is not empty"},
                         {"data.valid=None", "give a path, or a list of paths"},
                         {"data.valid=~", "nothing"}}) {
    INFO(row.given);
    check_one_line(parse_failure(kMinimal, {row.given}), "--set " + row.given + ": ", row.says);
  }
  check_one_line(parse_failure(kMinimal + "train: {steps: 1,000}"), "t.yaml:2:18", "write numbers without separators");
  CHECK(parse(kMinimal, {"output_dir='None'"}).output_dir == "None");
}

TEST_CASE("a preset by the name that Hugging Face gives it") {
  CHECK(parse_gpt2(kMinimal + "model: {preset: gpt2}").preset == gpt2::Preset::small);
  CHECK_THAT(to_yaml(parse(kMinimal + "model: {preset: gpt2}")), Contains("preset: gpt2-small"));
  CHECK_THAT(to_yaml(parse(kMinimal + "model: {name: bert, preset: bert-base-uncased}")),
             Contains("preset: bert-base\n"));
  check_one_line(parse_failure(kMinimal + "model: {preset: GPT2_Medium}"), "t.yaml:2:", "nearest: gpt2-medium");
}

TEST_CASE("a file of another editor is read, or told what is wrong with it") {
  CHECK(parse("\xEF\xBB\xBF"
              "data: {train: a}")
            .data.train.text() == "a");
  CHECK(parse("data:\r\n  train: a\r\ntrain:\r\n  steps: 5\r\n").train.steps == 5);
  CHECK(parse("{\"data\": {\"train\": \"a\"}, \"train\": {\"steps\": 5}}").train.steps == 5);
  CHECK(parse("data: {train: a}\ntrain:\n  steps:\t5\n").train.steps == 5);  // no indentation
  struct Row {
    std::string text, where, says;
  };
  for (const Row& row : std::vector<Row>{
           {"data:\n\ttrain: a\n", "t.yaml:2:1", "a tab; indent with spaces"},
           {"data:\n  train: a\n \tvalid: b\n", "t.yaml:3:2", "a tab; indent with spaces"},
           {"data:\n  train: a\ntrain:\n  steps:3\n", "t.yaml:4:3", "write a space behind the colon"},
           {"data:\n  train: a\ntrain:\n  steps:3\n  seed: 4\n", "t.yaml:4:8",
            "no space behind the colon of \"steps\""},
           {"train:3", "t.yaml:1:1", "write a space behind the colon"},
           {std::string("\xFF\xFE"
                        "d\0a\0",
                        6),
            "t.yaml:1:1", "UTF-16; save it as UTF-8"},
           {std::string("\xFE\xFF\0d\0a", 6), "t.yaml:1:1", "UTF-16; save it as UTF-8"},
           {std::string("d\0a\0", 4), "t.yaml:1:1", "UTF-16; save it as UTF-8"},
           {"import torch\n", "t.yaml:1:1", "a configuration is YAML"},
       }) {
    INFO(row.text);
    check_one_line(parse_failure(row.text), row.where, row.says);
  }
}

TEST_CASE("a folder or a Python file in the place of a configuration is named as such") {
  const TemporaryFolder folder;
  const auto load = [](const std::filesystem::path& path) {
    return failure_of([&] { load_config(path, config_registry()); });
  };
  CHECK(load(folder.path).code == 66);
  CHECK_THAT(load(folder.path).message, Contains("is a folder") && Contains("train.yaml"));
  write_text_atomically(folder.path / "config.yaml", kMinimal);
  CHECK_THAT(load(folder.path).message, Contains("its run's is " + (folder.path / "config.yaml").string()));
  write_text_atomically(folder.path / "train.py", "batch_size = 12\n");
  check_one_line(load(folder.path / "train.py"), (folder.path / "train.py").string(), "a Python file");
}
