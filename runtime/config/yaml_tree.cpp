#include "runtime/config/yaml_tree.h"

#include <fmt/core.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <optional>
#include <sstream>

#include "runtime/base/text_check.h"

namespace ddp {
namespace {

constexpr int64_t kMaxTextBytes = 1 << 20;
constexpr size_t kMaxScalarBytes = 4096;
constexpr size_t kMaxDepth = 8;

std::string position(const YamlSource& source, int line, int column) {
  return source.has_lines ? fmt::format("{}:{}:{}", source.name, line + 1, column + 1) : source.name;
}

void check_characters(std::string_view text, const YamlSource& source) {
  const std::optional<TextFlaw> flaw = find_text_flaw(text, TextForm::block);
  if (!flaw) return;
  const std::string_view before = text.substr(0, flaw->at);
  const std::string_view line = before.substr(before.rfind('\n') + 1);  // npos + 1 is 0
  const auto is_first_byte = [](char c) { return (uint8_t(c) & 0xC0) != 0x80; };
  throw config_error(position(source, int(std::count(before.begin(), before.end(), '\n')),
                              int(std::count_if(line.begin(), line.end(), is_first_byte))),
                     flaw->what, "a configuration is UTF-8 without control characters");
}

void check_scalar_size(const std::string& text, const std::string& where) {
  if (text.size() > kMaxScalarBytes)
    throw config_error(where, fmt::format("a scalar of {} bytes", text.size()),
                       fmt::format("the limit is {}", kMaxScalarBytes));
}

// UTF-16, as some editors of Windows write it, begins with a mark or has a zero byte in each character.
void check_encoding(std::string_view text, const YamlSource& source) {
  const bool is_marked = text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF");
  const bool has_zeros = text.size() >= 2 && (text[0] == '\0') != (text[1] == '\0');
  if (is_marked || has_zeros) throw config_error(position(source, 0, 0), "the text is UTF-16", "save it as UTF-8");
}

// What in the lines up to `last` (from 0) a parser of YAML stumbles over and does not name: the error, or nothing.
std::optional<Error> usual_mistake(std::string_view text, int last, const YamlSource& source) {
  for (int number = 0; number <= last && !text.empty(); ++number) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const size_t first = std::min(line.find_first_not_of(" \t"), line.size());
    const size_t tab = line.substr(0, first).find('\t'), colon = line.find(':', first);
    if (tab != std::string_view::npos)
      return config_error(position(source, number, int(tab)), "a tab", "indent with spaces: YAML forbids tabs there");
    if (colon == std::string_view::npos || colon == first || colon + 1 >= line.size()) continue;
    const std::string_view key = line.substr(first, colon - first);
    const bool is_word = key.find_first_of(" {[\"'#") == std::string_view::npos;
    if (is_word && std::string_view(" \r").find(line[colon + 1]) == std::string_view::npos)
      return config_error(position(source, number, int(colon)), "no space behind the colon of " + in_quotes(key),
                          "write key: value");
  }
  return std::nullopt;
}

class TreeBuilder final : public YAML::EventHandler {
 public:
  explicit TreeBuilder(const YamlSource& source) : source_(source) {}

  YamlNode take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++n_documents_ > 1) fail(mark, "a second document", "keep one document a file");
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { add(mark, "", anchor, YamlNode::Kind::null); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { fail(mark, "an alias", "write the value out"); }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    check_scalar_size(text, position(source_, mark.line, mark.column));
    if (expects_key()) return set_key(mark, tag, anchor, text);
    YamlNode& node = add(mark, tag, anchor, YamlNode::Kind::scalar);
    node.text = text;
    node.quoted = tag == "!";
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(add(mark, tag, anchor, YamlNode::Kind::list), mark);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(add(mark, tag, anchor, YamlNode::Kind::map), mark);
  }
  void OnSequenceEnd() override { open_.pop_back(); }
  void OnMapEnd() override { open_.pop_back(); }

 private:
  [[noreturn]] void fail(const YAML::Mark& mark, const std::string& what, const std::string& hint) const {
    throw config_error(position(source_, mark.line, mark.column), what, hint);
  }

  bool expects_key() const { return !open_.empty() && open_.back()->kind == YamlNode::Kind::map && !has_key_; }

  void check_plain(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) const {
    if (anchor != YAML::NullAnchor) fail(mark, "an anchor", "write the value out where it is needed");
    // yaml-cpp's marks of untagged nodes: "?" plain, "!" quoted.
    if (!tag.empty() && tag != "?" && tag != "!") fail(mark, "the tag " + in_quotes(tag), "remove it");
  }

  void set_key(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, const std::string& text) {
    check_plain(mark, tag, anchor);
    for (const YamlNode& sibling : open_.back()->children)
      if (sibling.key == text) fail(mark, "duplicate key " + in_quotes(text), "first set at " + sibling.key_where);
    key_ = text;
    key_where_ = position(source_, mark.line, mark.column);
    has_key_ = true;
  }

  // Adds a value to the collection that is open, or makes it the root.
  YamlNode& add(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YamlNode::Kind kind) {
    check_plain(mark, tag, anchor);
    if (expects_key()) fail(mark, "a key that is not text", "write key: value");
    YamlNode& node = open_.empty() ? root_ : open_.back()->children.emplace_back();
    node.kind = kind;
    node.where = position(source_, mark.line, mark.column);
    if (has_key_) {
      node.key = std::move(key_);
      node.key_where = std::move(key_where_);
      has_key_ = false;
    }
    return node;
  }

  void open(YamlNode& node, const YAML::Mark& mark) {
    if (open_.size() == kMaxDepth) fail(mark, fmt::format("nested deeper than {} levels", kMaxDepth), "");
    open_.push_back(&node);
  }

  const YamlSource& source_;
  YamlNode root_;
  // From the root inwards; a node's siblings come after it is closed, so these stay valid.
  std::vector<YamlNode*> open_;
  bool has_key_ = false;
  std::string key_, key_where_;
  int n_documents_ = 0;
};

}  // namespace

void check_yaml_size(int64_t size_bytes, const std::string& name) {
  if (size_bytes > kMaxTextBytes)
    throw config_error(name, fmt::format("{} bytes; the limit is {}", size_bytes, kMaxTextBytes),
                       "is this a configuration?");
}

YamlNode read_yaml(std::string_view text, const YamlSource& source) {
  check_yaml_size(int64_t(text.size()), source.name);
  check_encoding(text, source);
  check_characters(text, source);
  std::istringstream stream{std::string(text)};
  TreeBuilder builder(source);
  try {
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {}
  } catch (const YAML::Exception& e) {
    if (std::optional<Error> mistake = usual_mistake(text, std::max(e.mark.line, 0), source)) throw *mistake;
    throw config_error(
        position(source, std::max(e.mark.line, 0), std::max(e.mark.column, 0)), "not YAML: " + e.msg,
        e.msg.starts_with(YAML::ErrorMsg::UNKNOWN_ANCHOR) ? "put text that begins with * in quotes" : "");
  }
  YamlNode root = builder.take();
  if (root.where.empty()) root.where = position(source, 0, 0);
  return root;
}

YamlNode literal_scalar(const std::string& text, const std::string& where) {
  check_scalar_size(text, where);
  return {.kind = YamlNode::Kind::scalar, .where = where, .text = text, .quoted = true};
}

Error config_error(const std::string& where, const std::string& what, const std::string& hint) {
  return Error(ExitCode::config, where + ": " + what, hint);
}

std::string in_quotes(std::string_view text) {
  constexpr size_t kShown = 60;
  const std::string shown = one_line(text, kShown);
  return '"' + shown + (text.size() > shown.size() ? "...\"" : "\"");
}

}  // namespace ddp
