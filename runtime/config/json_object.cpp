#include "runtime/config/json_object.h"

#include <fmt/format.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "runtime/config/yaml_tree.h"

namespace ddp {
namespace {

constexpr size_t kMaxBytes = 4 * 1024 * 1024;  // a file with the names of thousands of classes has hundreds of KiB
constexpr size_t kMaxDepth = 32;

// What nlohmann's reader calls; each call returns whether to go on.
class Collector {
 public:
  using number_integer_t = nlohmann::json::number_integer_t;
  using number_unsigned_t = nlohmann::json::number_unsigned_t;
  using number_float_t = nlohmann::json::number_float_t;
  using string_t = nlohmann::json::string_t;
  using binary_t = nlohmann::json::binary_t;

  JsonObject object;
  std::string flaw;  // why the reader was stopped

  bool null() { return add({}); }
  bool boolean(bool value) { return add({.kind = JsonValue::Kind::truth, .truth = value}); }
  bool number_integer(number_integer_t value) {
    return add({.kind = JsonValue::Kind::integer, .integer = value, .number = double(value)});
  }
  bool number_unsigned(number_unsigned_t value) {
    if (value <= number_unsigned_t(std::numeric_limits<int64_t>::max())) return number_integer(int64_t(value));
    return number_float(double(value), {});
  }
  bool number_float(number_float_t value, const string_t&) {
    return add({.kind = JsonValue::Kind::number, .number = value});
  }
  bool string(string_t& value) { return add({.kind = JsonValue::Kind::text, .text = std::move(value)}); }
  bool binary(binary_t&) { return stop("it has bytes that are no text"); }
  bool start_object(size_t) { return open(JsonValue::Kind::map); }
  bool start_array(size_t) { return open(JsonValue::Kind::list); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool key(string_t& name) {
    if (!keys_.back().insert(name).second) return stop(fmt::format("the key {} is given twice", in_quotes(name)));
    if (keys_.size() == 1) key_ = name;
    return true;
  }
  bool parse_error(size_t at, const std::string&, const nlohmann::json::exception&) {
    return stop(fmt::format("no JSON at byte {}", at));
  }

 private:
  // keys_ has those of each map and list that is open, the outermost first.
  bool add(JsonValue value) {
    if (keys_.empty()) return stop("it is not an object");
    if (keys_.size() == 1) {
      object[key_] = std::move(value);
    } else if (keys_.size() == 2) {
      JsonValue& outer = object[key_];
      ++outer.size;
      if (value.kind == JsonValue::Kind::text) outer.texts.push_back(std::move(value.text));
    }
    return true;
  }
  bool open(JsonValue::Kind kind) {
    if (keys_.empty() ? kind != JsonValue::Kind::map : !add({.kind = kind})) return stop("it is not an object");
    if (keys_.size() == kMaxDepth) return stop(fmt::format("it is nested deeper than {} levels", kMaxDepth));
    keys_.emplace_back();
    return true;
  }
  bool close() {
    keys_.pop_back();
    return true;
  }
  bool stop(const std::string& why) {
    flaw = why;
    return false;
  }

  std::vector<std::set<std::string>> keys_;
  std::string key_;  // of the object itself
};

}  // namespace

std::string JsonValue::shown() const {
  switch (kind) {
    case Kind::null:
      return "null";
    case Kind::truth:
      return truth ? "true" : "false";
    case Kind::integer:
      return fmt::format("{}", integer);
    case Kind::number:
      return fmt::format("{}", number);
    case Kind::text:
      return in_quotes(text);
    case Kind::list:
      return fmt::format("a list of {}", size);
    case Kind::map:
      return fmt::format("an object of {}", size);
  }
  return {};
}

JsonObject read_json_object(std::string_view text, const std::string& name) {
  constexpr const char* kHint = "is it what the weights came with?";
  if (text.size() > kMaxBytes)
    throw config_error(name, fmt::format("{} bytes; the limit is {}", text.size(), kMaxBytes), kHint);
  if (text.find('\0') != text.npos) throw config_error(name, "it has a zero byte", kHint);  // an end, to the reader
  Collector collector;
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &collector)) throw config_error(name, collector.flaw, kHint);
  return std::move(collector.object);
}

}  // namespace ddp
