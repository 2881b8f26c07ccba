#include "runtime/config/resume_changes.h"

#include <algorithm>

#include "runtime/base/error.h"
#include "runtime/config/fields.h"
#include "runtime/config/value.h"

namespace ddp {
namespace {

using Needs = KeyChange::Needs;

// The learning rate of a step does not depend on how many follow.
bool is_open_ended(const Config& config) {
  return config.schedule.name == ScheduleName::constant || config.schedule.name == ScheduleName::step;
}

Needs needs_of(const std::string& key, const Field& field, const Config& before, const Config& now) {
  if (!field.on_purpose) return Needs::another_run;
  const bool is_longer = key == "train.steps" && now.train.steps > before.train.steps;
  if (is_longer && is_open_ended(before) && is_open_ended(now)) return Needs::nothing;
  // Momentum has a buffer of its own, which nothing else can begin with in the middle.
  const bool has_buffer = before.optimizer.momentum != 0, wants_buffer = now.optimizer.momentum != 0;
  if (key == "optimizer.momentum" && has_buffer != wants_buffer) return Needs::another_run;
  return Needs::consent;
}

}  // namespace

std::vector<KeyChange> resume_changes(const Config& before, const Config& now) {
  if (before.model.name != now.model.name)
    return {{.key = "model.name", .before = before.model.name, .after = now.model.name}};
  std::vector<KeyChange> changes;
  for (const KeySection& section : sections_of(model_kind(now)))
    for (const Field* field : section.fields) {
      const Value old_value = field->at.get(before), new_value = field->at.get(now);
      if (!determines_result(section.name, *field, now) || old_value == new_value) continue;
      const std::string key = full_key(section.name, field->key);
      changes.push_back({.key = key,
                         .before = print_value(old_value),
                         .after = print_value(new_value),
                         .needs = needs_of(key, *field, before, now)});
    }
  return changes;
}

std::string listed(std::span<const KeyChange> changes) {
  std::string all;
  for (const KeyChange& change : changes) all += (all.empty() ? "" : ", ") + change.text();
  return all;
}

std::vector<KeyChange> conflicts_of(std::span<const KeyChange> changes, std::span<const std::string> accepted) {
  std::vector<KeyChange> conflicts;
  for (const KeyChange& change : changes) {
    const bool is_accepted = std::ranges::find(accepted, change.key) != accepted.end();
    if (change.needs == Needs::another_run || (change.needs == Needs::consent && !is_accepted))
      conflicts.push_back(change);
  }
  return conflicts;
}

void check_accepted(std::span<const std::string> keys, const Config& config) {
  const std::vector<KeySection> sections = sections_of(model_kind(config));
  for (const std::string& key : keys) {
    bool is_known = false, is_section = false;
    for_each_field(sections, [&](const std::string& known, const Field&) {
      is_known |= known == key;
      is_section |= known.starts_with(key + ".");
    });
    if (is_section)
      throw Error(ExitCode::usage, "--accept-change: " + key + " is a section", "name its keys that change");
    if (!is_known)
      throw Error(ExitCode::usage, "--accept-change: no key " + in_quotes(key),
                  "did you mean " + nearest_key(sections, key) + "?");
  }
}

}  // namespace ddp
