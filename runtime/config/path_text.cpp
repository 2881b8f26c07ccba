#include "runtime/config/path_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "runtime/config/yaml_tree.h"

namespace ddp {
namespace {

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_of_name(char c) { return is_letter(c) || (c >= '0' && c <= '9'); }

class PathReader {
 public:
  PathReader(std::string_view text, std::string_view key, const std::string& where)
      : text_(text), key_(key), where_(where) {}

  std::string read() {
    std::string path;
    if (text_.starts_with('~')) path = take_home();
    while (!rest_.empty()) {
      const size_t dollar = std::min(rest_.find('$'), rest_.size());
      path += take(dollar);
      if (!rest_.empty()) path += take_variable();
    }
    return path;
  }

 private:
  std::string_view take(size_t n) {
    const std::string_view taken = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return taken;
  }

  std::string take_home() {
    take(1);
    if (!rest_.empty() && rest_.front() != '/')
      fail("names another user's home folder", "write its path, or ./~ where that is a file's name");
    return value_of("HOME");
  }

  std::string take_variable() {
    take(1);
    if (rest_.starts_with('$')) return std::string(take(1));
    const bool in_braces = rest_.starts_with('{');
    if (in_braces) take(1);
    const size_t length = size_t(std::find_if_not(rest_.begin(), rest_.end(), is_of_name) - rest_.begin());
    const std::string name(take(length));
    const bool is_closed = !in_braces || rest_.starts_with('}');
    if (name.empty() || !is_letter(name.front()) || !is_closed)
      fail("has a $ that is not of $NAME or ${NAME}", "write $$ for a dollar");
    if (in_braces) take(1);
    return value_of(name);
  }

  std::string value_of(const std::string& name) const {
    const char* value = std::getenv(name.c_str());
    if (value == nullptr || *value == '\0')
      fail(fmt::format("needs the variable {}, which is {}", name, value == nullptr ? "not set" : "empty"),
           "set it, or write the path");
    return value;
  }

  [[noreturn]] void fail(const std::string& what, const std::string& hint) const {
    throw config_error(where_, fmt::format("{} is {}, which {}", key_, in_quotes(text_), what), hint);
  }

  std::string_view text_, key_, rest_ = text_;
  const std::string& where_;
};

}  // namespace

std::string path_from_text(std::string_view text, std::string_view key, const std::string& where) {
  return PathReader(text, key, where).read();
}

std::string path_as_text(std::string_view path) {
  std::string text = path.starts_with('~') ? "./" : "";
  for (const char c : path) text += c == '$' ? "$$" : std::string(1, c);
  return text;
}

}  // namespace ddp
