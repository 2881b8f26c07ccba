#include "models/gpt2/options/config_json.h"

#include <nlohmann/json.hpp>

#include "models/config_json.h"
#include "models/gpt2/options/options.h"

namespace ddp::gpt2 {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kEndOfText = 50256;  // of GPT-2's tokens

// Nothing where the vocabulary is another one.
Json end_of_text(const Options& options) { return options.vocab > kEndOfText ? Json(kEndOfText) : Json(nullptr); }

}  // namespace

std::map<std::string, std::string> export_files(const Config& config) {
  const Options& o = options_of<Options>(config);
  const Json end = end_of_text(o);
  Json model = {{"architectures", {"GPT2LMHeadModel"}},
                {"model_type", "gpt2"},
                {"n_layer", o.layers},
                {"n_head", o.heads},
                {"n_embd", o.width},
                {"n_inner", mlp_width_of(o)},
                {"n_positions", o.context},
                {"vocab_size", o.vocab},
                {"activation_function", name_of(o.activation)},
                {"layer_norm_epsilon", o.norm_eps},
                {"scale_attn_weights", true},
                {"scale_attn_by_inverse_layer_idx", false},
                {"tie_word_embeddings", o.tie_embeddings},
                {"bos_token_id", end},
                {"eos_token_id", end}};
  for (const char* key : {"resid_pdrop", "embd_pdrop", "attn_pdrop"}) model[key] = o.dropout;
  const Json generation = {{"bos_token_id", end}, {"eos_token_id", end}};
  return {{kModelConfigFile, model.dump(2) + "\n"}, {"generation_config.json", generation.dump(2) + "\n"}};
}

ImportedConfig import_json(std::string_view text, const std::string& name) {
  ConfigJson json(text, name, "gpt2");
  json.also_called("num_hidden_layers", "n_layer");
  json.also_called("num_attention_heads", "n_head");
  json.also_called("hidden_size", "n_embd");
  json.also_called("max_position_embeddings", "n_positions");
  json.integer("n_layer", "model.layers", 12);
  json.integer("n_head", "model.heads", 12);
  const int64_t width = json.integer("n_embd", "model.width", 768);
  json.mlp_width("n_inner", width);
  json.integer("n_positions", "model.context", 1024, /*may_be_less=*/true);
  json.integer("vocab_size", "model.vocab", 50257);
  json.activation("activation_function", Activation::gelu_new);
  json.number("layer_norm_epsilon", "model.norm_eps", 1e-5);
  json.truth("tie_word_embeddings", "model.tie_embeddings", true);
  json.expect("scale_attn_weights", {.kind = JsonValue::Kind::truth, .truth = true});
  json.expect("scale_attn_by_inverse_layer_idx", {.kind = JsonValue::Kind::truth, .truth = false});
  json.pass_over({"attn_pdrop", "embd_pdrop", "resid_pdrop", "summary_", "n_ctx", "reorder_and_upcast_attn", "id2label",
                  "problem_type", "architectures", "is_decoder"});
  return json.take();
}

}  // namespace ddp::gpt2
