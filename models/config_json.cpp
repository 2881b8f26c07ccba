#include "models/config_json.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/config/yaml_tree.h"

namespace ddp {
namespace {

// transformers has several names for one function.
struct ActivationName {
  std::string_view theirs;
  Activation ours;
};
constexpr ActivationName kActivations[] = {
    {"gelu_new", Activation::gelu_new},
    {"gelu_fast", Activation::gelu_new},
    {"gelu_accurate", Activation::gelu_new},
    {"gelu_pytorch_tanh", Activation::gelu_new},
    {"gelu_python_tanh", Activation::gelu_new},
    {"gelu", Activation::gelu},
    {"gelu_python", Activation::gelu},
    {"relu", Activation::relu},
    {"tanh", Activation::tanh},
};

// Of every model: what says how a file was written, how to sample, how to initialise or to lay out memory. Dropout is
// here too: what pre-training had is not what a run that goes on from there wants unasked.
constexpr std::string_view kWithoutEffect[] = {
    "_attn_implementation_autoset",
    "_commit_hash",
    "_name_or_path",
    "attn_implementation",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "chunk_size_feed_forward",
    "cross_attention_hidden_size",
    "decoder_start_token_id",
    "directionality",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "eos_token_id",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "initializer_range",
    "label2id",
    "length_penalty",
    "max_length",
    "min_length",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_",
    "pad_token_id",
    "prefix",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "typical_p",
    "unk_token_id",
    "use_bfloat16",
    "use_cache",
};

bool means(std::string_view entry, std::string_view key) {
  return entry.ends_with('_') ? key.starts_with(entry) : key == entry;
}

}  // namespace

ConfigJson::ConfigJson(std::string_view text, const std::string& name, std::string_view model)
    : name_(name), json_(read_json_object(text, name)), defaults_{.source = name} {
  if (const JsonValue* type = find("model_type", JsonValue::Kind::text, "a text"); type && type->text != model)
    fail("model_type", *type, fmt::format("weights of model {} have {}", model, model));
  suggest("model.name", std::string(model));
  if (find("model_type") != nullptr)
    defaults_.bonds.push_back({"model.name", fmt::format("model_type is {} in {}", model, name)});
  for (const char* key :
       {"is_encoder_decoder", "tie_encoder_decoder", "add_cross_attention", "pruned_heads", "quantization_config"})
    expect_none(key);
}

void ConfigJson::also_called(const char* other, const char* theirs) {
  const auto found = json_.find(other);
  if (found == json_.end()) return;
  json_[theirs] = found->second;
  json_.erase(other);
}

int64_t ConfigJson::integer(const char* theirs, const char* ours, int64_t initial, bool may_be_less) {
  const JsonValue* found = find(theirs, JsonValue::Kind::integer, "an integer");
  const int64_t value = found == nullptr ? initial : found->integer;
  bind(theirs, ours, fmt::format("{}", value), may_be_less);
  return value;
}

void ConfigJson::number(const char* theirs, const char* ours, double initial) {
  const JsonValue* found = find(theirs, JsonValue::Kind::number, "a number");
  bind(theirs, ours, fmt::format("{}", found == nullptr ? initial : found->number));
}

void ConfigJson::truth(const char* theirs, const char* ours, bool initial) {
  const JsonValue* found = find(theirs, JsonValue::Kind::truth, "true or false");
  bind(theirs, ours, fmt::format("{}", found == nullptr ? initial : found->truth));
}

void ConfigJson::activation(const char* theirs, Activation initial) {
  const JsonValue* found = find(theirs, JsonValue::Kind::text, "a text");
  std::string known;
  for (const auto& [name, ours] : kActivations) {
    if (found != nullptr && found->text == name) initial = ours, found = nullptr;
    known += (known.empty() ? "" : ", ") + std::string(name);
  }
  if (found != nullptr) fail(theirs, *found, known + " can be computed");
  bind(theirs, "model.activation", std::string(name_of(initial)));
}

void ConfigJson::mlp_width(const char* theirs, int64_t width) {
  const JsonValue* found = find(theirs, JsonValue::Kind::integer, "an integer");
  if (found != nullptr && found->integer < 1) fail(theirs, *found, "give a positive integer, or null");
  constexpr int64_t kWidest = 1 << 20;  // wider is refused as model.width
  bind(theirs, "model.mlp_width", fmt::format("{}", found != nullptr ? found->integer : 4 * std::min(width, kWidest)));
}

void ConfigJson::suggest(const char* ours, const std::string& value) {
  defaults_.values.push_back(fmt::format("{}={}", ours, value));
}

void ConfigJson::expect(const char* theirs, const JsonValue& only) {
  if (const JsonValue* found = find(theirs); found != nullptr && *found != only)
    fail(theirs, *found, fmt::format("{} is what can be computed", only.shown()));
}

void ConfigJson::expect_none(const char* theirs) {
  const JsonValue* found = find(theirs);
  if (found == nullptr || (found->kind == JsonValue::Kind::truth && !found->truth)) return;
  const bool may_be_empty = found->kind == JsonValue::Kind::list || found->kind == JsonValue::Kind::map;
  if (!may_be_empty || found->size > 0) fail(theirs, *found, "that cannot be computed");
}

const JsonValue* ConfigJson::find(std::string_view theirs) {
  const auto found = json_.find(theirs);
  if (found == json_.end()) return nullptr;
  seen_.insert(found->first);
  return found->second.kind == JsonValue::Kind::null ? nullptr : &found->second;
}

void ConfigJson::pass_over(std::initializer_list<std::string_view> theirs) {
  for (const auto& [key, value] : json_)
    for (const std::string_view entry : theirs)
      if (means(entry, key)) seen_.insert(key);
}

void ConfigJson::fail(std::string_view theirs, const JsonValue& found, const std::string& hint) const {
  throw config_error(name_, fmt::format("{} is {}", theirs, found.shown()), hint);
}

ImportedConfig ConfigJson::take() {
  if (seen_.empty()) defaults_ = {};  // another program's file of this name: what it lacks means nothing
  ImportedConfig imported{.defaults = std::move(defaults_), .unknown = {}};
  for (const auto& [key, value] : json_) {
    const bool is_known =
        std::ranges::any_of(kWithoutEffect, [&](std::string_view entry) { return means(entry, key); });
    if (!is_known && !seen_.contains(key)) imported.unknown.push_back(key);
  }
  return imported;
}

const JsonValue* ConfigJson::find(std::string_view theirs, JsonValue::Kind kind, const char* what) {
  const JsonValue* found = find(theirs);
  const bool is_number = kind == JsonValue::Kind::number && found && found->kind == JsonValue::Kind::integer;
  if (found != nullptr && found->kind != kind && !is_number) fail(theirs, *found, fmt::format("give {}", what));
  return found;
}

void ConfigJson::bind(const char* theirs, const char* ours, const std::string& value, bool may_be_less) {
  suggest(ours, value);
  const JsonValue* found = find(theirs);
  defaults_.bonds.push_back({ours,
                             found != nullptr ? fmt::format("{} is {} in {}", theirs, found->shown(), name_)
                                              : fmt::format("{} is {} where {} does not say", theirs, value, name_),
                             may_be_less});
}

}  // namespace ddp
