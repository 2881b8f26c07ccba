// The field tables: one row a key of the configuration, in the section of the YAML where it stands. Parsing, printing,
// --explain, the digest, the resume check and the errors for unknown keys are all loops over these rows, so a key is
// added in one place. The common rows stand in fields.cpp, a model's own beside its options (models/<name>/options).
#pragma once

#include <any>
#include <array>
#include <cstdint>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
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

using Value = std::variant<int64_t, double, bool, std::string, std::array<double, 2>, NumberOrWord,
                           std::vector<int64_t>, std::vector<double>, PathList>;

// Of a number, or of each number of a list.
struct Range {
  double min, max;
  bool without_min = false, without_max = false;  // the bound itself is not allowed
};

struct Access {
  Value (*get)(const Config&);
  void (*set)(Config&, const Value&);       // the value holds the type that get returns, and one of the choices
  Value (*initial)(const ConfigRegistry&);  // the default
  // Text only: the words that are allowed, beside the default; nullptr: any text.
  std::vector<std::string_view> (*choices)(const ConfigRegistry&) = nullptr;
};

struct Field {
  std::string_view key;  // within its section
  Access at;
  std::string_view unit = "";
  Range range = {0, 0};  // numbers only
  bool required = false;
  bool resume_may_change = false;  // it does not determine the result, so the digest leaves it out as well;
  bool shapes_batches = false;     // but of a model that normalises batches it does
  bool on_purpose = false;         // a resume that accepts it changes it; else a run's state would not fit
  std::string_view reader = {};    // the only value of its section's `name` under which the key is read; empty: any
  bool of_the_place = false;       // where the run is, not what it is: a resume does not take it from the run
  std::string_view meaning;
};

struct Section {
  std::string_view name;  // "" for the keys of the top level
  std::span<const Field> fields;
};

namespace detail {

// Where a leaf lies: in the configuration itself, or in its model's options.
struct InConfig {
  static const Config& in(const Config& config) { return config; }
  static Config& in(Config& config) { return config; }
  static Config initial() { return {}; }
};
template <class Options>
struct InOptions {
  static const Options& in(const Config& config) { return options_of<Options>(config); }
  static Options& in(Config& config) { return options_of<Options>(config); }
  static Options initial() { return {}; }
};

template <class T>
Value to_value(const T& leaf) {
  if constexpr (std::is_enum_v<T>)
    return std::string(name_of(leaf));
  else
    return leaf;
}
template <class T>
void from_value(T& leaf, const Value& value) {
  if constexpr (std::is_enum_v<T>)
    leaf = named<T>(std::get<std::string>(value));
  else
    leaf = std::get<T>(value);
}
template <class Root, auto... path>
using LeafType = std::remove_cvref_t<decltype((Root::initial().*....*path))>;

// The words of an enum; an empty name, of a choice that is none, is only its default.
template <class T>
std::vector<std::string_view> words_of(const ConfigRegistry&) {
  std::vector<std::string_view> words;
  for (const Named<T>& choice : names_of(T()))
    if (!choice.name.empty()) words.push_back(choice.name);
  return words;
}
template <class T>
constexpr auto choices_of_type() -> decltype(Access::choices) {
  if constexpr (std::is_enum_v<T>)
    return words_of<T>;
  else
    return nullptr;
}

template <class Root, auto... path>
constexpr Access access = {
    [](const Config& config) { return to_value((Root::in(config).*....*path)); },
    [](Config& config, const Value& value) { from_value((Root::in(config).*....*path), value); },
    [](const ConfigRegistry&) { return to_value((Root::initial().*....*path)); },
    choices_of_type<LeafType<Root, path...>>(),
};

}  // namespace detail

// Access to one leaf of the configuration by its path of member pointers. An enum's value is its name as text.
template <auto... path>
constexpr Access leaf = detail::access<detail::InConfig, path...>;
// The same to a leaf of the model's options.
template <class Options, auto... path>
constexpr Access option = detail::access<detail::InOptions<Options>, path...>;

// The keys that every model has, in the order of the YAML. A model's own keys of a section come after the first
// `num_before_model` of these.
struct CommonSection {
  std::string_view name;
  std::span<const Field> fields;
  size_t num_before_model = 0;
};
std::span<const CommonSection> common_sections();

// A section of one model's configuration, whole: in the order of the YAML.
struct KeySection {
  std::string_view name;
  std::vector<const Field*> fields;
};
std::vector<KeySection> sections_of(const ModelKind& model);

const Field* find_field(std::span<const KeySection> sections, std::string_view section, std::string_view key);
// Whether the configuration's choice in the section reads the key.
bool is_read(std::string_view section, const Field& field, const Config& config);
// Whether a run's result depends on it, so that a resume keeps it and the digest holds it.
bool determines_result(std::string_view section, const Field& field, const Config& config);
// What names files, in which ~ and $NAME mean something where somebody types it.
inline bool is_path(const Field& field) { return field.unit == "path"; }
// The words that are allowed beside the default; empty: any.
std::vector<std::string_view> choices_of(const Field& field, const ConfigRegistry& registry);
// "train.steps"; a top-level key is its own path.
std::string full_key(std::string_view section, std::string_view key);
// The known full key or section nearest to a mistyped full key.
std::string nearest_key(std::span<const KeySection> sections, std::string_view full_key);

// Calls visit(full key, field) for every field in order.
template <class Visit>
void for_each_field(std::span<const KeySection> sections, Visit visit) {
  for (const KeySection& section : sections)
    for (const Field* field : section.fields) visit(full_key(section.name, field->key), *field);
}

}  // namespace ddp
