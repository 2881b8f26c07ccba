// What the configuration tests share: a short valid text, and the error of a text that is not.
#pragma once

#include <string>
#include <vector>

#include "models/gpt2/options/options.h"
#include "models/options_registry.h"
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

}  // namespace ddp::test
