// What is done with a resolved configuration: print, hash, explain. All loops over the field tables.
#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "runtime/base/error.h"
#include "runtime/base/hash.h"
#include "runtime/config/config.h"
#include "runtime/config/fields.h"
#include "runtime/config/value.h"

namespace ddp {
namespace {

// For a terminal: configs/README.md says it once for all paths.
constexpr std::string_view kPathUnit = "path, in which ~, $NAME and ${NAME} are put in, and $$ is a dollar";

std::string_view resume_text(const Field& field) {
  if (field.resume_may_change) return "may change";
  return field.on_purpose ? "on purpose" : "must match";
}

std::string or_dash(std::string_view text) { return text.empty() ? "-" : std::string(text); }

// What --explain prints of tables and keys.
class Explainer {
 public:
  explicit Explainer(const ConfigRegistry& registry) : registry_(registry) {}

  // The common keys, then each model's, or none where there is no such section.
  std::string section(const CommonSection& section) const {
    std::string text = table(section.name, section.fields);
    for (const ModelKind* model : registry_.models)
      for (const Section& own : model->sections)
        if (own.name == section.name)
          text += fmt::format("\nWith `model.name: {}`:\n\n{}", model->name, table(own.name, own.fields));
    return text;
  }

  // One key, for a terminal; of several models where several have it. Empty where there is none.
  std::string key(std::string_view key) const {
    for (const CommonSection& section : common_sections())
      for (const Field& field : section.fields)
        if (full_key(section.name, field.key) == key) return field_text(key, field);
    std::string text;
    for (const ModelKind* model : registry_.models)
      for (const Section& section : model->sections)
        for (const Field& field : section.fields)
          if (full_key(section.name, field.key) == key)
            text += field_text(key, field) + fmt::format("  model    {}\n", model->name);
    return text;
  }

  std::vector<KeySection> all_sections() const {
    std::vector<KeySection> all;
    for (const ModelKind* model : registry_.models)
      for (KeySection& section : sections_of(*model)) all.push_back(std::move(section));
    return all;
  }

 private:
  std::string default_text(const Field& field) const {
    return field.required ? "required" : print_value(field.at.initial(registry_));
  }

  std::string field_text(std::string_view key, const Field& field) const {
    return fmt::format("{}: {}\n  type     {}\n  unit     {}\n  default  {}\n  range    {}\n  resume   {}\n", key,
                       field.meaning, type_name(field, registry_), or_dash(is_path(field) ? kPathUnit : field.unit),
                       default_text(field), or_dash(print_range(field, registry_)), resume_text(field));
  }

  // A Markdown table that is also readable as plain text; configs/README.md holds it.
  std::string table(std::string_view section, std::span<const Field> fields) const {
    std::vector<std::array<std::string, 7>> rows = {{"key", "type", "unit", "default", "range", "on resume", "meaning"},
                                                    {}};
    for (const Field& field : fields)
      rows.push_back({"`" + full_key(section, field.key) + "`", std::string(type_name(field, registry_)),
                      or_dash(field.unit), default_text(field), or_dash(print_range(field, registry_)),
                      std::string(resume_text(field)), std::string(field.meaning)});
    std::array<size_t, 7> width{};
    for (const auto& row : rows)
      for (size_t i = 0; i + 1 < row.size(); ++i) width[i] = std::max(width[i], row[i].size());
    width.back() = rows[0].back().size();
    for (size_t i = 0; i < width.size(); ++i) rows[1][i] = std::string(width[i], '-');
    std::string text;
    for (const auto& row : rows) {
      text += '|';
      for (size_t i = 0; i < row.size(); ++i) text += fmt::format(" {:<{}} |", row[i], width[i]);
      text += '\n';
    }
    return text;
  }

  const ConfigRegistry& registry_;
};

}  // namespace

std::string to_yaml(const Config& config) {
  std::string text;
  for (const KeySection& section : sections_of(model_kind(config))) {
    if (!section.name.empty()) text += fmt::format("{}:\n", section.name);
    for (const Field* field : section.fields)
      text +=
          fmt::format("{}{}: {}\n", section.name.empty() ? "" : "  ", field->key, print_value(field->at.get(config)));
  }
  return text;
}

std::vector<std::pair<std::string, std::string>> flatten(const Config& config) {
  std::vector<std::pair<std::string, std::string>> leaves;
  for_each_field(sections_of(model_kind(config)), [&](const std::string& key, const Field& field) {
    leaves.emplace_back(key, print_value(field.at.get(config)));
  });
  return leaves;
}

Defaults defaults_of(const Config& config, const std::string& source) {
  Defaults defaults{.source = source};
  for_each_field(sections_of(model_kind(config)), [&](const std::string& key, const Field& field) {
    if (!field.of_the_place) defaults.values.push_back(key + "=" + print_value(field.at.get(config)));
  });
  return defaults;
}

std::string config_digest(const Config& config) {
  std::string text;
  for (const KeySection& section : sections_of(model_kind(config)))
    for (const Field* field : section.fields)
      if (determines_result(section.name, *field, config))
        text += fmt::format("{}: {}\n", full_key(section.name, field->key), print_value(field->at.get(config)));
  return hash_text(xxh3(std::as_bytes(std::span(text))));
}

std::string explain(std::string_view key, const ConfigRegistry& registry) {
  const Explainer explainer(registry);
  std::string text;
  for (const CommonSection& section : common_sections())
    if (key.empty() || (key == section.name)) text += (text.empty() ? "" : "\n") + explainer.section(section);
  if (text.empty()) text = explainer.key(key);
  if (text.empty())
    throw Error(ExitCode::usage, "no key " + in_quotes(key),
                "did you mean " + nearest_key(explainer.all_sections(), key) + "?");
  return text;
}

}  // namespace ddp
