// What the configuration tests share: a short valid text, and the error of a text that is not.
#pragma once

#include <string>
#include <vector>

#include "models/gpt2/options/options.h"
#include "models/options_registry.h"
#include "runtime/config/resume_changes.h"
#include "tests/support/failure.h"

namespace ddp::test {

inline const std::string kMinimal = "data: {train: a.bin}\n";

inline Config parse(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return parse_config(text, "t.yaml", config_registry(), overrides);
}

inline gpt2::Options parse_gpt2(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return options_of<gpt2::Options>(parse(text, overrides));
}

inline Failure parse_failure(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return failure_of([&] { parse(text, overrides); });
}

// "train.seed: 1 became 2" of each change.
inline std::vector<std::string> change_texts(const Config& before, const Config& now) {
  std::vector<std::string> texts;
  for (const KeyChange& change : resume_changes(before, now)) texts.push_back(change.text());
  return texts;
}

}  // namespace ddp::test
