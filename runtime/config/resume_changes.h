// What is another configuration between a run and its continuation, and who may have it so.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "runtime/config/config.h"

namespace ddp {

// A key that determines the result, and that a run goes on with as another value.
struct KeyChange {
  enum class Needs : uint8_t {
    nothing,      // no step so far depends on it
    consent,      // --accept-change
    another_run,  // a run's state would mean something else, or not fit
  };
  std::string key, before, after;  // values as in the YAML
  Needs needs = Needs::another_run;

  std::string text() const { return key + ": " + before + " became " + after; }
};

// In the order of the YAML. Another model.name is all that is said then, since the rest means something else. Data is
// compared by its content, not here.
std::vector<KeyChange> resume_changes(const Config& before, const Config& now);

// "a: 1 became 2, b: 3 became 4".
std::string listed(std::span<const KeyChange> changes);

// Those that may not be: of another run, or without the consent of `accepted`, full keys.
std::vector<KeyChange> conflicts_of(std::span<const KeyChange> changes, std::span<const std::string> accepted);

// That each is a key of the configuration's model. Errors: usage (64) with the nearest key.
void check_accepted(std::span<const std::string> keys, const Config& config);

}  // namespace ddp
