// {"metadata": anything, "weight_map": {tensor: file}}, parsed by events as the headers are, and as little trusted.
#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "runtime/base/text_check.h"
#include "runtime/state/tensor_files.h"

namespace ddp {
namespace {

bool is_file_name(const std::string& text) {
  return !text.empty() && text != "." && text != ".." && text.find('/') == text.npos &&
         !find_text_flaw(text, TextForm::name);
}

class IndexHandler final : public nlohmann::json_sax<nlohmann::json> {
 public:
  ShardIndex shards;
  bool has_map = false;
  std::string problem;  // why the parse stopped

  bool start_object(size_t) override {
    if (!other_value(/*is_object=*/true)) return false;
    has_map = has_map || is_map_;
    ++depth_;
    return true;
  }
  bool start_array(size_t) override {
    if (!other_value()) return false;
    ++depth_;
    return true;
  }
  bool end_object() override { return --depth_ >= 0; }
  bool end_array() override { return --depth_ >= 0; }

  bool key(string_t& name) override {
    if (depth_ == 1) is_map_ = name == "weight_map";
    if (depth_ == 1 && is_map_ && has_map) return fail("it has two weight_map");
    if (in_map()) tensor_ = name;
    return true;
  }

  bool string(string_t& text) override {
    if (!in_map()) return other_value();
    if (!is_file_name(text))
      return fail("it puts {} into {}, which is no name of a file beside it", quoted_name(tensor_), quoted_name(text));
    const auto& [place, is_new] = shards.emplace(tensor_, text);
    return is_new || place->second == text ||
           fail("it puts {} into {} and into {}", quoted_name(tensor_), place->second, text);
  }

  bool null() override { return other_value(); }
  bool boolean(bool) override { return other_value(); }
  bool number_integer(number_integer_t) override { return other_value(); }
  bool number_unsigned(number_unsigned_t) override { return other_value(); }
  bool number_float(number_float_t, const string_t&) override { return other_value(); }
  bool binary(binary_t&) override { return other_value(); }
  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) override {
    return fail("it is no valid JSON at byte {}", position);
  }

 private:
  bool in_map() const { return depth_ == 2 && is_map_; }

  // Whatever is not the name of a tensor's file.
  bool other_value(bool is_object = false) {
    if (in_map()) return fail("it puts {} into what is no name of a file", quoted_name(tensor_));
    return depth_ != 1 || !is_map_ || is_object || fail("its weight_map is no object");
  }

  template <class... T>
  bool fail(fmt::format_string<T...> format, T&&... values) {
    problem = fmt::format(format, std::forward<T>(values)...);
    return false;
  }

  int64_t depth_ = 0;
  bool is_map_ = false;  // of the outermost object's last key
  std::string tensor_;
};

}  // namespace

ShardIndex parse_shard_index(std::string_view text, const std::string& file) {
  const auto malformed = [&](const std::string& why) {
    return Error(ExitCode::data, file + " is not a valid index of safetensors files: " + why);
  };
  if (text.find('\0') != text.npos) throw malformed("it has a zero byte");  // the parser takes it for the end
  IndexHandler handler;
  if (!nlohmann::json::sax_parse(text, &handler)) throw malformed(handler.problem);
  if (!handler.has_map) throw malformed("it has no weight_map");
  return std::move(handler.shards);
}

}  // namespace ddp
