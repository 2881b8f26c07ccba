#include "runtime/config/value.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

#include "runtime/base/number.h"
#include "runtime/base/text_check.h"
#include "runtime/config/nearest.h"

namespace ddp {
namespace {

constexpr std::string_view kDigits = "0123456789";
constexpr size_t kLongestList = 16;

// `010` is 8 to one YAML reader and 10 to another.
bool looks_octal(std::string_view text) {
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  return text.size() > 1 && text[0] == '0' && kDigits.find(text[1]) != std::string_view::npos;
}

std::string print_bounds(const Range& r) {
  // Counts in full, not as 1e+09.
  const auto bound = [](double x) {
    return x < 1e12 && x == double(int64_t(x)) ? fmt::format("{}", int64_t(x)) : fmt::format("{}", x);
  };
  return fmt::format("{}{}, {}{}", r.without_min ? '(' : '[', bound(r.min), bound(r.max), r.without_max ? ')' : ']');
}

template <class Number>
std::optional<Number> parse_whole(std::string_view text, std::string_view allowed) {
  if (text.find_first_not_of(allowed) != std::string_view::npos) return std::nullopt;
  return parse_number<Number>(text);
}

class ValueReader {
 public:
  ValueReader(const Field& field, const std::string& key, const YamlNode& node, const ConfigRegistry& registry)
      : field_(field), key_(key), node_(node), registry_(registry) {}

  void read(int64_t& out) const { read_number(out, node_, "an integer"); }
  void read(double& out) const { read_number(out, node_, "a finite number"); }
  void read(bool& out) const {
    if (!is_plain(node_) || (node_.text != "true" && node_.text != "false")) fail_type(node_, advice_for_bool());
    out = node_.text == "true";
  }
  void read(std::string& out) const {
    const bool may_be_empty = !field_.required && field_.at.initial(registry_) == Value(std::string());
    if (node_.kind != YamlNode::Kind::scalar || (is_plain(node_) && node_.text == "None"))
      fail_type(node_, choices().empty() ? (may_be_empty ? "text (\"\" for none)" : "text that is not empty")
                                         : fmt::format("one of {}", fmt::join(choices(), ", ")));
    check_line(node_);
    if (node_.text.empty() && !may_be_empty) fail_type(node_, "text that is not empty");
    check_choice(node_.text);
    out = node_.text;
  }
  void read(std::array<double, 2>& out) const {
    if (node_.kind != YamlNode::Kind::list || node_.children.size() != out.size())
      fail_type(node_, "two numbers, as [0.9, 0.95]");
    for (size_t i = 0; i < out.size(); ++i) read_number(out[i], node_.children[i], "a finite number");
  }
  void read(std::vector<int64_t>& out) const { read_list(out, "integers, as [3, 4, 6, 3],"); }
  void read(std::vector<double>& out) const { read_list(out, "finite numbers, as [0.5, 0.25],"); }
  // An empty text is no path, and an empty list none; only a key that may be left out may say so.
  void read(PathList& out) const {
    const std::string wanted =
        fmt::format("a path, or a list of paths, as [a.bin, b.bin]{}", field_.required ? "" : "; \"\" for none");
    const bool is_list = node_.kind == YamlNode::Kind::list;
    if (!is_list && node_.kind != YamlNode::Kind::scalar) fail_type(node_, wanted);
    const std::span<const YamlNode> given = is_list ? std::span(node_.children) : std::span(&node_, 1);
    if (given.size() > kMaxPaths) fail_type(node_, fmt::format("a list of at most {}", kMaxPaths));
    for (const YamlNode& node : given) {
      const bool is_none = is_plain(node) && node.text == "None";
      if (node.kind != YamlNode::Kind::scalar || is_none || (is_list && node.text.empty())) fail_type(node, wanted);
      check_line(node);
      if (!node.text.empty()) out.paths.push_back(node.text);
    }
    if (out.empty() && field_.required) fail_type(node_, "text that is not empty");
  }
  void read(NumberOrWord& out) const {
    out.number.reset();
    if (is_plain(node_) && node_.text == out.word) return;
    read_number(out.number.emplace(), node_, fmt::format("{} or a finite number", out.word));
  }

 private:
  static bool is_plain(const YamlNode& node) { return node.kind == YamlNode::Kind::scalar && !node.quoted; }

  static std::string describe(const YamlNode& node) {
    switch (node.kind) {
      case YamlNode::Kind::null:
        return "nothing";
      case YamlNode::Kind::scalar:
        return node.quoted ? "the text " + in_quotes(node.text) : in_quotes(node.text);
      case YamlNode::Kind::list:
        return fmt::format("a list of {}", node.children.size());
      case YamlNode::Kind::map:
        return "a map";
    }
    return {};
  }

  void check_line(const YamlNode& node) const {
    if (const auto flaw = find_text_flaw(node.text, TextForm::name))
      throw config_error(node.where, fmt::format("{} holds {}", key_, flaw->what), "give text on one line");
  }

  [[noreturn]] void fail_type(const YamlNode& node, std::string_view wanted) const {
    throw config_error(node.where, fmt::format("{} is {}", key_, describe(node)), fmt::format("give {}", wanted));
  }

  // "yes" and "True" say which they mean, but not to every reader of YAML.
  std::string advice_for_bool() const {
    std::string word = node_.text;
    std::transform(word.begin(), word.end(), word.begin(), [](char c) { return char(std::tolower(uint8_t(c))); });
    for (const auto& [value, words] :
         {std::pair{"true", " true yes on y 1 "}, std::pair{"false", " false no off n 0 "}})
      if (!word.empty() && std::string_view(words).find(" " + word + " ") != std::string_view::npos)
        return fmt::format("true or false: here {}", value);
    return "true or false";
  }

  // How a number that is written as elsewhere is written here; empty: it is no such number.
  template <class Number>
  static std::string number_here(std::string_view text) {
    std::string digits(text);
    std::erase_if(digits, [](char c) { return c == '_' || c == ',' || c == ' ' || c == '\''; });
    if (digits.size() < text.size() && read_plain<Number>(digits)) return digits;
    if (const bool is_hex = text.starts_with("0x") || text.starts_with("0X"); is_hex) {
      uint64_t value = 0;
      const auto [stop, error] = std::from_chars(text.data() + 2, text.data() + text.size(), value, 16);
      if (error == std::errc() && stop == text.data() + text.size()) return fmt::format("{}", value);
    }
    // 1e3 and 1000.0 where an integer is wanted.
    const std::optional<double> real = read_plain<double>(text);
    if (std::is_same_v<Number, int64_t> && real && std::abs(*real) < 1e18 && *real == double(int64_t(*real)))
      return fmt::format("{}", int64_t(*real));
    return {};
  }

  // Digits alone, that no type of 64 bits holds.
  template <class Number>
  static bool is_too_large(std::string_view text) {
    if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
    if (!text.empty() && text.find_first_not_of(kDigits) == std::string_view::npos) return true;
    double value = 0;
    const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return std::is_same_v<Number, double> && error == std::errc::result_out_of_range &&
           stop == text.data() + text.size();
  }

  // A sign '+' is as good as none. `allowed` keeps out the words that from_chars takes for numbers.
  template <class Number>
  static std::optional<Number> read_plain(std::string_view text) {
    constexpr bool kWhole = std::is_same_v<Number, int64_t>;
    if (text.size() > 1 && text[0] == '+' && text[1] != '-' && text[1] != '+') text.remove_prefix(1);
    return parse_whole<Number>(text, kWhole ? "-0123456789" : "+-.eE0123456789");
  }

  template <class Number>
  void read_number(Number& out, const YamlNode& node, std::string_view wanted) const {
    if (is_plain(node) && looks_octal(node.text))
      throw config_error(node.where, fmt::format("{} is {}", key_, in_quotes(node.text)),
                         "remove the leading zero: it is octal to some readers");
    const std::optional<Number> number = is_plain(node) ? read_plain<Number>(node.text) : std::nullopt;
    if (!number && is_plain(node)) {
      const std::string here = number_here<Number>(node.text);
      const char* const flaw = is_too_large<Number>(node.text) ? ", which is too large" : "";
      throw config_error(node.where, fmt::format("{} is {}{}", key_, in_quotes(node.text), flaw),
                         fmt::format("give {} in {}{}", wanted, print_bounds(field_.range),
                                     here.empty() ? "" : ", written as " + here));
    }
    if (!number) fail_type(node, fmt::format("{} in {}", wanted, print_bounds(field_.range)));
    const Range& r = field_.range;
    const double x = double(*number);
    if (x < r.min || x > r.max || (r.without_min && x == r.min) || (r.without_max && x == r.max))
      fail_type(node, fmt::format("{} in {}", wanted, print_bounds(field_.range)));
    out = *number;
  }

  template <class Number>
  void read_list(std::vector<Number>& out, std::string_view wanted) const {
    const std::string what = fmt::format("a list of {}", wanted);
    if (node_.kind != YamlNode::Kind::list || node_.children.empty() || node_.children.size() > kLongestList)
      fail_type(node_, fmt::format("{} of at most {}", what, kLongestList));
    out.resize(node_.children.size());
    for (size_t i = 0; i < out.size(); ++i) read_number(out[i], node_.children[i], what);
  }

  void check_choice(const std::string& text) const {
    const std::vector<std::string> words = choices();
    if (words.empty() || std::find(words.begin(), words.end(), text) != words.end()) return;
    if (Value(text) == field_.at.initial(registry_)) return;
    throw config_error(node_.where, fmt::format("{} is {}", key_, in_quotes(text)),
                       words.size() == 1 ? fmt::format("available: {}", words[0])
                                         : fmt::format("available: {} (nearest: {})", fmt::join(words, ", "),
                                                       nearest_word(text, words)));
  }

  std::vector<std::string> choices() const {
    const std::vector<std::string_view> words = choices_of(field_, registry_);
    return {words.begin(), words.end()};
  }

  const Field& field_;
  const std::string& key_;
  const YamlNode& node_;
  const ConfigRegistry& registry_;
};

// Text that YAML reads back as itself without quotes: letters, digits and a few signs, and not one of YAML's own words.
bool is_safe_plain(const std::string& text) {
  const auto is_alnum = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  };
  const auto is_safe = [&](char c) {
    return is_alnum(c) || std::string_view("/._-+=@").find(c) != std::string_view::npos;
  };
  if (text.empty() || !(is_alnum(text[0]) || text[0] == '/' || (text[0] == '.' && text != "..."))) return false;
  return text != "null" && text != "Null" && text != "NULL" && std::all_of(text.begin(), text.end(), is_safe);
}

std::string print(int64_t value) { return fmt::format("{}", value); }
std::string print(double value) { return fmt::format("{}", value); }
std::string print(bool value) { return value ? "true" : "false"; }
std::string print(const std::array<double, 2>& pair) { return fmt::format("[{}, {}]", pair[0], pair[1]); }
template <class Number>
std::string print(const std::vector<Number>& list) {
  return fmt::format("[{}]", fmt::join(list, ", "));
}
std::string print(const NumberOrWord& value) { return value.number ? print(*value.number) : std::string(value.word); }
std::string print(const std::string& text) {
  if (is_safe_plain(text)) return text;
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}
std::string print(const PathList& list) {
  if (list.paths.size() == 1) return print(list.paths.front());
  std::string out;
  for (const std::string& path : list.paths) out += (out.empty() ? "[" : ", ") + print(path);
  return list.empty() ? "\"\"" : out + ']';
}

}  // namespace

Value read_value(const Field& field, const std::string& key, const YamlNode& node, const ConfigRegistry& registry) {
  Value value = field.at.initial(registry);
  std::visit([&](auto& typed) { ValueReader(field, key, node, registry).read(typed); }, value);
  return value;
}

std::string print_value(const Value& value) {
  return std::visit([](const auto& typed) { return print(typed); }, value);
}

std::string_view type_name(const Field& field, const ConfigRegistry& registry) {
  constexpr std::string_view kNames[] = {"integer",        "number",   "true or false", "text",        "two numbers",
                                         "number or word", "integers", "numbers",       "path or list"};
  static_assert(std::size(kNames) == std::variant_size_v<Value>);
  return kNames[field.at.initial(registry).index()];
}

std::string print_range(const Field& field, const ConfigRegistry& registry) {
  if (field.at.choices != nullptr) return fmt::format("{}", fmt::join(choices_of(field, registry), ", "));
  if (field.range.min == field.range.max) return {};
  const Value initial = field.at.initial(registry);
  const auto* either = std::get_if<NumberOrWord>(&initial);
  return (either == nullptr ? "" : std::string(either->word) + ", ") + print_bounds(field.range);
}

}  // namespace ddp
