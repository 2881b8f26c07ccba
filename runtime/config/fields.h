// The field tables: one table a struct of the configuration, one row a key. Parsing, printing, --explain, the digest,
// the resume check and the errors for unknown keys are all loops over these rows, so a key is added in one place.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "runtime/config/config.h"

namespace ddp {

// A number, or the word that stands where there is none.
struct NumberOrWord {
  std::optional<double> number;
  std::string_view word;
  bool operator==(const NumberOrWord&) const = default;
};

using Value = std::variant<int64_t, double, bool, std::string, std::array<double, 2>, NumberOrWord>;

// Of a number, or of each number of a list.
struct Range {
  double min, max;
  bool without_min = false, without_max = false;  // the bound itself is not allowed
};

struct Access {
  Value (*get)(const Config&);
  void (*set)(Config&, const Value&);  // the value holds the type that get returns, and one of the choices
  // Text only: the words that are allowed, beside the default; nullptr: any text.
  std::vector<std::string_view> (*choices)() = nullptr;
};

struct Field {
  std::string_view key;  // within its section
  Access at;
  std::string_view unit = "";
  Range range = {0, 0};  // numbers only
  bool required = false;
  bool resume_may_change = false;  // it does not determine the result, so the digest leaves it out as well
  std::string_view meaning;
};

struct Section {
  std::string_view name;  // "" for the keys of the top level
  std::span<const Field> fields;
};

std::span<const Section> sections();  // in the order of the YAML

const Section* find_section(std::string_view name);  // nullptr: none
const Field* find_field(const Section& section, std::string_view key);

// The words that are allowed beside the default; empty: any.
inline std::vector<std::string_view> choices_of(const Field& field) {
  return field.at.choices == nullptr ? std::vector<std::string_view>() : field.at.choices();
}
// "train.steps"; a top-level key is its own path.
std::string full_key(const Section& section, const Field& field);
// The known full key or section nearest to a mistyped full key.
std::string nearest_key(std::string_view full_key);

// Calls visit(section, field) for every field in order.
template <class Visit>
void for_each_field(Visit visit) {
  for (const Section& section : sections())
    for (const Field& field : section.fields) visit(section, field);
}

}  // namespace ddp
