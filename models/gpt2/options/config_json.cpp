#include "models/gpt2/options/config_json.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "models/gpt2/options/options.h"
#include "runtime/config/yaml_tree.h"

namespace ddp::gpt2 {
namespace {

using Json = nlohmann::ordered_json;

struct Size {
  const char* theirs;
  std::string_view key;
  int64_t Options::*ours;
  int64_t initial;  // GPT2Config's
};
constexpr Size kSizes[] = {
    {"n_layer", "model.layers", &Options::layers, 12},     {"n_head", "model.heads", &Options::heads, 12},
    {"n_embd", "model.width", &Options::width, 768},       {"n_positions", "model.context", &Options::context, 1024},
    {"vocab_size", "model.vocab", &Options::vocab, 50257},
};

// GPT2Config drops in three places; here it is one probability.
constexpr const char* kDropouts[] = {"resid_pdrop", "embd_pdrop", "attn_pdrop"};
constexpr double kInitialDropout = 0.1;  // GPT2Config's

// What only one value of is computed here, which is also GPT2Config's own default.
Json fixed_values() {
  return {
      {"model_type", "gpt2"},       {"activation_function", "gelu_new"},        {"layer_norm_epsilon", 1e-5},
      {"scale_attn_weights", true}, {"scale_attn_by_inverse_layer_idx", false}, {"add_cross_attention", false},
  };
}

// Of a file, where a key that it does not give, or gives as null, has GPT2Config's default.
class Reader {
 public:
  Reader(const Json& json, const std::string& name) : json_(json), name_(name) {}

  int64_t integer(const char* key, int64_t initial) const {
    const Json found = value(key, initial);
    if (!found.is_number_integer()) fail(key, found, "give an integer");
    return found.get<int64_t>();
  }
  bool truth(const char* key, bool initial) const {
    const Json found = value(key, initial);
    if (!found.is_boolean()) fail(key, found, "give true or false");
    return found.get<bool>();
  }
  double number(const char* key, double initial) const {
    const Json found = value(key, initial);
    if (!found.is_number()) fail(key, found, "give a number");
    return found.get<double>();
  }
  double dropout() const {
    const double first = number(kDropouts[0], kInitialDropout);
    for (const char* key : kDropouts)
      if (const double other = number(key, kInitialDropout); other != first)
        fail(key, other, fmt::format("{} is {}, and there is one probability for both", kDropouts[0], first));
    return first;
  }
  // Of the MLP; by default 4 x the width.
  void expect_inner_width() const {
    const Json inner = value("n_inner", nullptr);
    if (inner.is_null()) return;
    const int64_t given = integer("n_inner", 0), width = integer("n_embd", 768);
    if (given % 4 != 0 || given / 4 != width) fail("n_inner", inner, "4 x n_embd is what can be computed");
  }
  void expect(const char* key, const Json& only) const {
    const Json found = value(key, only);
    if (found != only) fail(key, found, fmt::format("{} is what can be computed", only.dump()));
  }

 private:
  Json value(const char* key, const Json& initial) const {
    const auto found = json_.find(key);
    return found == json_.end() || found->is_null() ? initial : *found;
  }
  [[noreturn]] void fail(const char* key, const Json& found, const std::string& hint) const {
    // What is nested may be so deep that printing it takes all of the stack.
    const std::string text = found.is_structured() ? found.type_name() : found.dump(-1, ' ', /*ensure_ascii=*/true);
    throw config_error(name_, fmt::format("{} is {}", key, in_quotes(text)), hint);
  }

  const Json& json_;
  const std::string& name_;
};

}  // namespace

std::string export_json(const Config& config) {
  const Options& options = options_of<Options>(config);
  Json json = {{"architectures", {"GPT2LMHeadModel"}}};
  json.update(fixed_values());
  for (const Size& size : kSizes) json[size.theirs] = options.*size.ours;
  for (const char* key : kDropouts) json[key] = options.dropout;
  json["tie_word_embeddings"] = options.tie_embeddings;
  return json.dump(2) + "\n";
}

std::vector<std::string> import_json(std::string_view text, const std::string& name) {
  check_yaml_size(int64_t(text.size()), name);
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) throw config_error(name, "not a JSON object", "give the config.json of a GPT-2");
  const Reader read(json, name);
  const Json fixed = fixed_values();
  for (const auto& [key, only] : fixed.items()) read.expect(key.c_str(), only);
  std::vector<std::string> overrides = {"model.name=gpt2"};
  for (const Size& size : kSizes)
    overrides.push_back(fmt::format("{}={}", size.key, read.integer(size.theirs, size.initial)));
  overrides.push_back(fmt::format("model.dropout={}", read.dropout()));
  overrides.push_back(fmt::format("model.tie_embeddings={}", read.truth("tie_word_embeddings", true)));
  read.expect_inner_width();
  return overrides;
}

}  // namespace ddp::gpt2
