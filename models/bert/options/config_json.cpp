#include "models/bert/options/config_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "models/bert/options/options.h"
#include "models/config_json.h"

namespace ddp::bert {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kArchitectures[] = {"BertForMaskedLM", "BertForSequenceClassification"};  // by Task

void suggest_task(ConfigJson& json) {
  const JsonValue* all = json.find("architectures");
  if (all == nullptr) return;
  for (const Task task : {Task::mlm, Task::classify})
    if (std::ranges::find(all->texts, kArchitectures[size_t(task)]) != all->texts.end())
      json.suggest("model.task", std::string(name_of(task)));
}

void suggest_classes(ConfigJson& json) {
  const JsonValue *number = json.find("num_labels"), *names = json.find("id2label");
  if (names != nullptr && names->kind != JsonValue::Kind::map) json.fail("id2label", *names, "give an object");
  if (number != nullptr && number->kind != JsonValue::Kind::integer)
    json.fail("num_labels", *number, "give an integer");
  const int64_t classes = names != nullptr ? int64_t(names->size) : number != nullptr ? number->integer : 0;
  if (classes >= 2) json.suggest("model.classes", fmt::format("{}", classes));  // one is a number that is learnt
}

}  // namespace

std::map<std::string, std::string> export_files(const Config& config) {
  const Options& o = options_of<Options>(config);
  Json model = {{"architectures", {kArchitectures[size_t(o.task)]}},
                {"model_type", "bert"},
                {"num_hidden_layers", o.layers},
                {"num_attention_heads", o.heads},
                {"hidden_size", o.width},
                {"intermediate_size", mlp_width_of(o)},
                {"max_position_embeddings", o.positions},
                {"type_vocab_size", kTypes},
                {"vocab_size", o.vocab},
                {"hidden_act", name_of(o.activation)},
                {"layer_norm_eps", o.norm_eps},
                {"hidden_dropout_prob", o.dropout},
                {"attention_probs_dropout_prob", o.dropout},
                {"position_embedding_type", "absolute"},
                {"tie_word_embeddings", true}};
  if (o.task == Task::classify) {
    Json names = Json::object(), numbers = Json::object();
    for (int64_t i = 0; i < o.classes; ++i) {
      names[fmt::format("{}", i)] = fmt::format("LABEL_{}", i);
      numbers[fmt::format("LABEL_{}", i)] = i;
    }
    model["problem_type"] = "single_label_classification";
    model["id2label"] = std::move(names);
    model["label2id"] = std::move(numbers);
  }
  return {{kModelConfigFile, model.dump(2) + "\n"}};
}

ImportedConfig import_json(std::string_view text, const std::string& name) {
  ConfigJson json(text, name, "bert");
  json.integer("num_hidden_layers", "model.layers", 12);
  json.integer("num_attention_heads", "model.heads", 12);
  json.integer("hidden_size", "model.width", 768);
  json.integer("intermediate_size", "model.mlp_width", 3072);
  const int64_t positions = json.integer("max_position_embeddings", "model.positions", 512, /*may_be_less=*/true);
  if (positions < Options{}.context) json.suggest("model.context", fmt::format("{}", positions));
  json.integer("vocab_size", "model.vocab", 30522);
  json.activation("hidden_act", Activation::gelu);
  json.number("layer_norm_eps", "model.norm_eps", 1e-12);
  json.expect("type_vocab_size", {.kind = JsonValue::Kind::integer, .integer = kTypes, .number = double(kTypes)});
  json.expect("position_embedding_type", {.kind = JsonValue::Kind::text, .text = "absolute"});
  json.expect("tie_word_embeddings", {.kind = JsonValue::Kind::truth, .truth = true});
  json.expect("is_decoder", {.kind = JsonValue::Kind::truth, .truth = false});
  json.expect("problem_type", {.kind = JsonValue::Kind::text, .text = "single_label_classification"});
  suggest_task(json);
  suggest_classes(json);
  json.pass_over({"attention_probs_dropout_prob", "hidden_dropout_prob", "classifier_dropout", "pooler_"});
  return json.take();
}

}  // namespace ddp::bert
