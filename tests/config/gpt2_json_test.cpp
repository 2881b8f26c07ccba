// GPT-2's config.json: what is written is what is read, and what cannot be computed is refused by name.
#include "models/gpt2/options/config_json.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "tests/config/support.h"

using namespace ddp;
using namespace ddp::test;
using Catch::Contains;

namespace {

// As published with the 124 M parameters, shortened.
const std::string kPublished = R"({"activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"],
  "attn_pdrop": 0.1, "bos_token_id": 50256, "embd_pdrop": 0.1, "initializer_range": 0.02, "layer_norm_epsilon": 1e-05,
  "model_type": "gpt2", "n_ctx": 1024, "n_embd": 768, "n_head": 12, "n_layer": 12, "n_positions": 1024,
  "resid_pdrop": 0.1, "task_specific_params": {"text-generation": {"do_sample": true}}, "vocab_size": 50257})";

Failure import_failure(const std::string& text) {
  return failure_of([&] { gpt2::import_json(text, "config.json"); });
}

// The published file with one key set.
std::string with(const std::string& key, const nlohmann::json& value) {
  nlohmann::json json = nlohmann::json::parse(kPublished);
  json[key] = value;
  return json.dump();
}

}  // namespace

TEST_CASE("what is exported imports to the same options") {
  const Config c = parse(kMinimal, {"model.layers=3", "model.heads=5", "model.width=60", "model.context=33",
                                    "model.vocab=999", "model.dropout=0.125", "model.tie_embeddings=false"});
  const std::string json = gpt2::kKind.export_json(c);
  CHECK(flatten(parse(kMinimal, gpt2::kKind.import_json(json, "config.json"))) == flatten(c));
  CHECK(nlohmann::json::parse(json)["n_positions"] == 33);
}

TEST_CASE("a published file imports, with what it leaves out as its writers mean it") {
  const gpt2::Options o = parse_gpt2(kMinimal, gpt2::import_json(kPublished, "config.json"));
  CHECK(std::array{o.layers, o.heads, o.width, o.context, o.vocab} == std::array<int64_t, 5>{12, 12, 768, 1024, 50257});
  CHECK(o.dropout == 0.1);
  CHECK(o.tie_embeddings);
  CHECK(parse_gpt2(kMinimal, gpt2::import_json("{}", "config.json")).dropout == 0.1);
  CHECK_NOTHROW(gpt2::import_json(with("n_inner", 3072), "config.json"));
  CHECK_NOTHROW(gpt2::import_json(with("n_inner", nullptr), "config.json"));
}

TEST_CASE("what this GPT-2 does not compute is refused by name") {
  const std::vector<std::pair<std::string, nlohmann::json>> cases = {
      {"model_type", "bert"},
      {"activation_function", "relu"},
      {"layer_norm_epsilon", 1e-6},
      {"scale_attn_weights", false},
      {"scale_attn_by_inverse_layer_idx", true},
      {"add_cross_attention", true},
      {"n_inner", 3073},
      {"n_inner", int64_t{1} << 62},
      {"attn_pdrop", 0.0},
      {"n_layer", "12"},
      {"n_layer", 12.5},
      {"n_layer", {1, 2}},
      {"tie_word_embeddings", 1},
      {"resid_pdrop", "none"},
  };
  for (const auto& [key, value] : cases) {
    INFO(key);
    const Failure f = import_failure(with(key, value));
    CHECK(f.code == 78);
    CHECK_THAT(f.message, Catch::StartsWith("config.json: " + key + " is "));
  }
  nlohmann::json only_one = {{"resid_pdrop", 0.0}};  // the others are 0.1 then
  CHECK_THAT(import_failure(only_one.dump()).message, Contains("embd_pdrop is \"0.1\""));
  for (const std::string text : {"", "[]", "{", "model: {}"}) CHECK(import_failure(text).code == 78);
  CHECK(import_failure(with("n_layer", std::string(70'000, 'x'))).code == 78);
}
