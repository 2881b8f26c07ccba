// One value of the configuration as text: reading with checks of type, range and choice, and printing so that it reads
// back to the same bits.
#pragma once

#include <string>
#include <string_view>

#include "runtime/config/fields.h"
#include "runtime/config/yaml_tree.h"

namespace ddp {

// `key` is the full key for errors. Errors: config (78) at the node's position, with what would be accepted.
Value read_value(const Field& field, const std::string& key, const YamlNode& node, const ConfigRegistry& registry);

// As YAML on one line: doubles with the fewest digits that round-trip, text in quotes where it needs them.
std::string print_value(const Value& value);

// For people: "integer", "number", "true or false", "text", "two numbers", "integers".
std::string_view type_name(const Field& field, const ConfigRegistry& registry);
// "[1, 1000]", "(0, 1)" with a round bracket for a bound that is not allowed; the choices of a text; empty for any.
std::string print_range(const Field& field, const ConfigRegistry& registry);

}  // namespace ddp
