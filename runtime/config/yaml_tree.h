// YAML text as a small tree, read strictly: what YAML allows and a configuration does not need is an error with its
// position, not a surprise: aliases, anchors, tags, duplicate keys, second documents, deep nesting, huge scalars, what
// is not UTF-8 text (runtime/base/text_check.h). Built on yaml-cpp's events instead of its nodes, which silently accept
// all of these. Scalars stay text; value.h types them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/error.h"

namespace ddp {

struct YamlNode {
  enum class Kind { null, scalar, list, map };
  Kind kind = Kind::null;
  std::string where;  // position for errors, e.g. "train.yaml:3:5" (line and column from 1)
  std::string text;   // of a scalar
  bool quoted = false;
  std::string key = {}, key_where = {};  // of a map's child
  std::vector<YamlNode> children = {};
};

// How errors name the text: "name:line:column", or "name" alone for a value from the command line.
struct YamlSource {
  std::string name;
  bool has_lines = true;
};

// A configuration is small; what is larger was given by mistake. Errors: config (78).
void check_yaml_size(int64_t size_bytes, const std::string& name);

// An empty text is a null node. Errors: config (78).
YamlNode read_yaml(std::string_view text, const YamlSource& source);

// A value that is taken as it is, not read as YAML, under the limits of one that was read. Errors: config (78).
YamlNode literal_scalar(const std::string& text, const std::string& where);

// "where: what; hint" with config (78).
Error config_error(const std::string& where, const std::string& what, const std::string& hint = {});
// The text in quotes for a one-line message: shortened, without control characters.
std::string in_quotes(std::string_view text);

}  // namespace ddp
