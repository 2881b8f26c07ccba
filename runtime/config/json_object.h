// A JSON object that a stranger wrote, as far as a configuration may take something of it: its keys with their values,
// and of what is nested no more than its size. Read strictly: what JSON readers disagree about is an error, not a
// surprise: a key that is given twice, NaN, a number without end, bytes behind the end. Nothing here recurses.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace ddp {

struct JsonValue {
  enum class Kind { null, truth, integer, number, text, list, map };
  Kind kind = Kind::null;
  bool truth = false;
  int64_t integer = 0;
  double number = 0;                    // of an integer too
  std::string text = {};                // of a text
  std::vector<std::string> texts = {};  // the texts among a list's elements
  size_t size = 0;                      // elements of a list or a map

  // For a message of one line.
  std::string shown() const;
  bool operator==(const JsonValue&) const = default;
};

using JsonObject = std::map<std::string, JsonValue, std::less<>>;

// `name` stands for the file in errors. Errors: config (78) for what is no such object, is larger than 4 MiB or nested
// deeper than 32 levels.
JsonObject read_json_object(std::string_view text, const std::string& name);

}  // namespace ddp
