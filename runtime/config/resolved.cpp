// What is done with a resolved configuration: print, compare, hash, explain. All loops over the field tables.
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

constexpr std::string_view kResumeMayChange = "may change", kResumeMustMatch = "must match";

std::string_view resume_text(const Field& field) {
  return field.resume_may_change ? kResumeMayChange : kResumeMustMatch;
}

std::string default_text(const Field& field) {
  return field.required ? "required" : print_value(field.at.get(Config{}));
}

std::string or_dash(std::string_view text) { return text.empty() ? "-" : std::string(text); }

// One key, for a terminal.
std::string explain_field(const Section& section, const Field& field) {
  return fmt::format("{}: {}\n  type     {}\n  unit     {}\n  default  {}\n  range    {}\n  resume   {}\n",
                     full_key(section, field), field.meaning, type_name(field), or_dash(field.unit),
                     default_text(field), or_dash(print_range(field)), resume_text(field));
}

// A Markdown table that is also readable as plain text; configs/README.md holds it.
std::string explain_section(const Section& section) {
  std::vector<std::array<std::string, 7>> rows = {{"key", "type", "unit", "default", "range", "on resume", "meaning"},
                                                  {}};
  for (const Field& field : section.fields)
    rows.push_back({"`" + full_key(section, field) + "`", std::string(type_name(field)), or_dash(field.unit),
                    default_text(field), or_dash(print_range(field)), std::string(resume_text(field)),
                    std::string(field.meaning)});
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

}  // namespace

std::string to_yaml(const Config& config) {
  std::string text;
  for (const Section& section : sections()) {
    if (!section.name.empty()) text += fmt::format("{}:\n", section.name);
    for (const Field& field : section.fields)
      text += fmt::format("{}{}: {}\n", section.name.empty() ? "" : "  ", field.key, print_value(field.at.get(config)));
  }
  return text;
}

std::vector<std::pair<std::string, std::string>> flatten(const Config& config) {
  std::vector<std::pair<std::string, std::string>> leaves;
  for_each_field([&](const Section& section, const Field& field) {
    leaves.emplace_back(full_key(section, field), print_value(field.at.get(config)));
  });
  return leaves;
}

std::string config_digest(const Config& config) {
  std::string text;
  for_each_field([&](const Section& section, const Field& field) {
    if (!field.resume_may_change)
      text += fmt::format("{}: {}\n", full_key(section, field), print_value(field.at.get(config)));
  });
  return hash_text(xxh3(std::as_bytes(std::span(text))));
}

std::vector<std::string> resume_conflicts(const Config& before, const Config& now) {
  std::vector<std::string> conflicts;
  for_each_field([&](const Section& section, const Field& field) {
    const Value old_value = field.at.get(before), new_value = field.at.get(now);
    if (!field.resume_may_change && old_value != new_value)
      conflicts.push_back(
          fmt::format("{}: {} became {}", full_key(section, field), print_value(old_value), print_value(new_value)));
  });
  return conflicts;
}

std::string explain(std::string_view key) {
  std::string text;
  for (const Section& section : sections())
    if (key.empty() || (key == section.name)) text += (text.empty() ? "" : "\n") + explain_section(section);
  if (!text.empty()) return text;
  for_each_field([&](const Section& section, const Field& field) {
    if (key == full_key(section, field)) text = explain_field(section, field);
  });
  if (text.empty()) throw Error(ExitCode::usage, "no key " + in_quotes(key), "did you mean " + nearest_key(key) + "?");
  return text;
}

}  // namespace ddp
