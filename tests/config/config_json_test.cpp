// config.json of transformers, of GPT-2 and BERT: what is written is what is read, what a published file says becomes
// defaults that a given key may not contradict, and what cannot be computed is refused by name.
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "models/bert/options/config_json.h"
#include "models/gpt2/options/config_json.h"
#include "runtime/config/json_object.h"
#include "tests/config/support.h"
#include "tests/support/mutated.h"

using namespace ddp;
using namespace ddp::test;
using Catch::Contains;
using Json = nlohmann::json;

namespace {

// As published with the 124 M parameters, shortened.
const std::string kGpt2 = R"({"activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"],
  "attn_pdrop": 0.1, "bos_token_id": 50256, "embd_pdrop": 0.1, "initializer_range": 0.02, "layer_norm_epsilon": 1e-05,
  "model_type": "gpt2", "n_ctx": 1024, "n_embd": 768, "n_head": 12, "n_layer": 12, "n_positions": 1024,
  "resid_pdrop": 0.1, "summary_type": "cls_index", "task_specific_params": {"text-generation": {"do_sample": true}},
  "vocab_size": 50257})";
// As published with BERT-base, with the labels of a classifier.
const std::string kBert = R"({"architectures": ["BertForSequenceClassification"], "attention_probs_dropout_prob": 0.1,
  "gradient_checkpointing": false, "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "hidden_size": 768,
  "id2label": {"0": "bad", "1": "so so", "2": "good"}, "initializer_range": 0.02, "intermediate_size": 3072,
  "layer_norm_eps": 1e-12, "max_position_embeddings": 512, "model_type": "bert", "num_attention_heads": 12,
  "num_hidden_layers": 12, "pad_token_id": 0, "position_embedding_type": "absolute", "transformers_version": "4.6.0",
  "type_vocab_size": 2, "use_cache": true, "vocab_size": 30522})";

using Import = ImportedConfig (*)(std::string_view, const std::string&);

Config parse_with(const Defaults& defaults, const std::string& text = kMinimal) {
  return parse_config(text, "t.yaml", config_registry(), {}, {}, defaults);
}

std::string with(const std::string& text, const std::string& key, const Json& value) {
  Json json = Json::parse(text);
  json[key] = value;
  return json.dump();
}

void check_refused(Import import, const std::string& published, const std::string& key, const Json& value) {
  INFO(key);
  const Failure f = failure_of([&] { import(with(published, key, value), "config.json"); });
  CHECK(f.code == 78);
  CHECK_THAT(f.message, Catch::StartsWith("config.json: " + key + " is "));
}

}  // namespace

TEST_CASE("what is exported imports to the same options, but for dropout") {
  const auto check = [](const std::vector<std::string>& keys, Import import) {
    const Config c = parse(kMinimal, keys);
    const ImportedConfig back = import(exported_files(c).at("config.json"), "config.json");
    CHECK(back.unknown.empty());
    CHECK(flatten(parse_with(back.defaults)) == flatten(c));
  };
  check({"model.layers=3", "model.heads=5", "model.width=60", "model.mlp_width=77", "model.context=33",
         "model.vocab=999", "model.activation=tanh", "model.norm_eps=0.003", "model.tie_embeddings=false"},
        gpt2::import_json);
  for (const char* task : {"mlm", "classify"})
    check({"model.name=bert", std::string("model.task=") + task, "model.layers=3", "model.heads=5", "model.width=60",
           "model.mlp_width=77", "model.positions=133", "model.vocab=999", "model.activation=relu",
           "model.norm_eps=1e-07"},
          bert::import_json);
  CHECK(Json::parse(exported_files(parse(kMinimal, {"model.dropout=0.125"})).at("config.json"))["attn_pdrop"] == 0.125);
}

TEST_CASE("published files import, with what they leave out as their writers mean it") {
  for (const std::string& text : {kGpt2, std::string(R"({"model_type": "gpt2"})")}) {
    const Config c = parse_with(gpt2::import_json(text, "config.json").defaults);
    CHECK(flatten(c) == flatten(parse(kMinimal)));
  }
  const Config c = parse_with(bert::import_json(kBert, "config.json").defaults);
  CHECK(flatten(c) == flatten(parse(kMinimal, {"model.name=bert", "model.task=classify", "model.classes=3"})));
  CHECK(gpt2::import_json(kGpt2, "config.json").unknown.empty());
  CHECK(bert::import_json(kBert, "config.json").unknown.empty());
  CHECK(bert::import_json(with(kBert, "rope", 1), "config.json").unknown == std::vector<std::string>{"rope"});
}

TEST_CASE("a config.json without a vocabulary means its writers' and not that of the data's format") {
  const std::string bytes = "data: {train: a.bin, format: bytes}\n";
  CHECK(options_of<gpt2::Options>(parse_with(gpt2::import_json(R"({"n_layer": 12})", "c").defaults, bytes)).vocab ==
        50257);
}

TEST_CASE("another program's config.json says nothing") {
  const ImportedConfig imported = gpt2::import_json(R"({"learning_rate": 0.1, "layers": 3})", "config.json");
  CHECK(imported.defaults.values.empty());
  CHECK(imported.defaults.bonds.empty());
  CHECK(imported.unknown == std::vector<std::string>{"layers", "learning_rate"});
}

TEST_CASE("activations that are one function under several names import as one") {
  for (const auto& [theirs, ours] : {std::pair("gelu_pytorch_tanh", "gelu_new"),
                                     {"gelu_fast", "gelu_new"},
                                     {"gelu_python", "gelu"},
                                     {"relu", "relu"}}) {
    const auto values = gpt2::import_json(with(kGpt2, "activation_function", theirs), "c").defaults.values;
    CHECK(std::ranges::count(values, std::string("model.activation=") + ours) == 1);
  }
}

TEST_CASE("a given key must not contradict a bond, a preset's neither, and a bond of at most lets less pass") {
  const Defaults defaults = gpt2::import_json(with(kGpt2, "n_layer", 24), "c.json").defaults;
  const auto message = [&](const std::string& model) {
    return failure_of([&] { parse_with(defaults, "model: " + model + "\n" + kMinimal); }).message;
  };
  CHECK_THAT(
      message("{layers: 23}"),
      Contains("t.yaml:1:9: model.layers is 23, and n_layer is 24 in c.json; leave it out, or start from other"));
  CHECK_THAT(message("{preset: gpt2-small}"), Contains("t.yaml:1:9: model.layers is 12, and n_layer is 24 in c.json"));
  CHECK_THAT(message("{context: 1025}"), Contains("n_positions is 1024 in c.json; leave it out, give less, or"));
  CHECK_THAT(message("{name: bert}"), Contains("model.name is bert, and model_type is gpt2 in c.json"));
  CHECK_THAT(message("{tie_embeddings: false}"), Contains("tie_word_embeddings is true where c.json does not say"));
  CHECK(parse_with(defaults, "model: {context: 3, mlp_width: 3072, layers: 24}\n" + kMinimal).model.name == "gpt2");
}

TEST_CASE("what this GPT-2 does not compute is refused by name") {
  const std::vector<std::pair<std::string, Json>> cases = {
      {"model_type", "bert"},
      {"activation_function", "silu"},
      {"activation_function", 3},
      {"scale_attn_weights", false},
      {"scale_attn_by_inverse_layer_idx", true},
      {"add_cross_attention", true},
      {"pruned_heads", {{"1", {0, 2}}}},
      {"quantization_config", {{"bits", 4}}},
      {"n_inner", 0},
      {"n_layer", "12"},
      {"n_layer", 12.5},
      {"n_layer", {1, 2}},
      {"n_layer", uint64_t{1} << 63},
      {"layer_norm_epsilon", "1e-5"},
      {"tie_word_embeddings", 1},
  };
  for (const auto& [key, value] : cases) check_refused(gpt2::import_json, kGpt2, key, value);
  CHECK_NOTHROW(gpt2::import_json(with(kGpt2, "pruned_heads", Json::object()), "config.json"));
  CHECK_NOTHROW(gpt2::import_json(with(kGpt2, "n_embd", int64_t{1} << 62), "config.json"));  // model.width is refused
}

TEST_CASE("what this BERT does not compute is refused by name") {
  const std::vector<std::pair<std::string, Json>> cases = {
      {"model_type", "roberta"}, {"hidden_act", "quick_gelu"},   {"position_embedding_type", "relative_key"},
      {"type_vocab_size", 3},    {"problem_type", "regression"}, {"is_decoder", true},
      {"id2label", 3},           {"tie_word_embeddings", false},
  };
  for (const auto& [key, value] : cases) check_refused(bert::import_json, kBert, key, value);
}

TEST_CASE("a JSON object is read strictly, and of what is nested its size") {
  const auto message = [](const std::string& text) {
    const Failure f = failure_of([&] { read_json_object(text, "c"); });
    CHECK(f.code == 78);
    return f.message;
  };
  for (const std::string text :
       {"", "{", "{\"a\": 1} x", "{\"a\": NaN}", "{\"a\": 1e999}", "{\"a\": \"\xff\"}", "{a: 1}"})
    CHECK_THAT(message(text), Contains("no JSON at byte"));
  for (const std::string text : {"[]", "3", "null", "\"a\""})
    CHECK_THAT(message(text), Contains("it is not an object"));
  CHECK_THAT(message(R"({"a": 1, "a": 1})"), Contains("the key \"a\" is given twice"));
  CHECK_THAT(message(R"({"b": {"a": 1, "a": 1}})"), Contains("the key \"a\" is given twice"));
  CHECK_THAT(message("{\"a\": " + std::string(100'000, '[')), Contains("nested deeper than 32 levels"));
  CHECK_THAT(message(std::string(5'000'000, ' ')), Contains("the limit is"));
  CHECK_THAT(message(std::string("{}\0", 3)), Contains("zero byte"));
  const JsonObject json = read_json_object(R"({"list": ["x", 1, ["y", "z"]], "map": {"k": {"l": 1}}, "n": -0.5})", "c");
  CHECK(json.at("list").texts == std::vector<std::string>{"x"});
  CHECK(json.at("list").size == 3);
  CHECK(json.at("map").size == 1);
  CHECK(json.at("n").number == -0.5);
}

TEST_CASE("a mutated config.json is taken or refused on one line") {
  std::mt19937 random(5);
  const std::vector<std::string> words = {
      "null", "true", "-1", "1e308", "\"\"", "[", "{", "\"n_head\": 3,", "9223372036854775808"};
  int taken = 0;
  for (int i = 0; i < 10 * num_mutations(); ++i) {
    const bool is_gpt2 = i % 2 == 0;
    const std::string text = mutated(is_gpt2 ? kGpt2 : kBert, random, {.words = words});
    CAPTURE(text);
    const Failure f = failure_of([&] {
      parse_with((is_gpt2 ? gpt2::import_json : bert::import_json)(text, "c").defaults);
      ++taken;
    });
    REQUIRE((f.message.empty() || f.code == 78));
    REQUIRE(f.message.find_first_of("\n\r\x1b") == f.message.npos);
  }
  CHECK(taken > 0);
}

TEST_CASE("the names that transformers takes for GPT-2's are read too, and win where a file has both") {
  const ImportedConfig imported = gpt2::import_json(
      R"({"model_type": "gpt2", "hidden_size": 64, "num_hidden_layers": 3, "n_head": 2, "num_attention_heads": 4,
          "max_position_embeddings": 32})",
      "config.json");
  CHECK(imported.unknown.empty());
  const auto o =
      options_of<gpt2::Options>(parse_config(kMinimal, "t.yaml", config_registry(), {}, {}, imported.defaults));
  CHECK(o.width == 64);
  CHECK(o.layers == 3);
  CHECK(o.heads == 4);
  CHECK(o.context == 32);
}
