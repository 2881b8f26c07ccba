// config.json of Hugging Face's transformers, which lies beside a model's weights: what the models' readers of it
// share. A key that the file does not give, or gives as null, is what transformers takes then. What nobody asked for
// and what is not known to be without effect is told.
#pragma once

#include <initializer_list>
#include <set>
#include <string>
#include <string_view>

#include "models/transformer_options.h"
#include "runtime/config/config.h"
#include "runtime/config/json_object.h"

namespace ddp {

// Errors of all of it: config (78), naming the key.
class ConfigJson {
 public:
  // `name` stands for the file in errors; a model_type must be `model`.
  ConfigJson(std::string_view text, const std::string& name, std::string_view model);

  // `other` is what transformers takes for `theirs` too, and wins where a file has both.
  void also_called(const char* other, const char* theirs);
  // The value of `theirs`, made the default of `ours`, which must not be given another value.
  int64_t integer(const char* theirs, const char* ours, int64_t initial, bool may_be_less = false);
  void number(const char* theirs, const char* ours, double initial);
  void truth(const char* theirs, const char* ours, bool initial);
  void activation(const char* theirs, Activation initial);
  // Of model.mlp_width, in a model of this width: by default 4 x as much.
  void mlp_width(const char* theirs, int64_t width);
  // A default of `ours` that may be given another value.
  void suggest(const char* ours, const std::string& value);
  // Only this can be computed, and it is what transformers takes where the file does not say.
  void expect(const char* theirs, const JsonValue& only);
  // Only nothing can be computed: null, false, or empty.
  void expect_none(const char* theirs);
  // A value as it is, nullptr where there is none.
  const JsonValue* find(std::string_view theirs);
  // Keys that change nothing of what is computed here; one that ends with '_' stands for all that begin so.
  void pass_over(std::initializer_list<std::string_view> theirs);

  [[noreturn]] void fail(std::string_view theirs, const JsonValue& found, const std::string& hint) const;
  // Nothing where the file has no key of such a model.
  ImportedConfig take();

 private:
  const JsonValue* find(std::string_view theirs, JsonValue::Kind kind, const char* what);
  void bind(const char* theirs, const char* ours, const std::string& value, bool may_be_less = false);

  std::string name_;
  JsonObject json_;
  std::set<std::string_view> seen_;  // keys of json_
  Defaults defaults_;
};

}  // namespace ddp
