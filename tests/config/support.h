// What the configuration tests share: a short valid text, and the error of a text that is not.
#pragma once

#include <string>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/config/config.h"

namespace ddp::test {

inline const std::string kMinimal = "data: {train: a.bin}\n";

inline Config parse(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return parse_config(text, "t.yaml", overrides);
}

struct Failure {
  int code;  // 0: nothing was thrown
  std::string message;
};

// What `call` throws.
template <class Call>
Failure failure_of(Call call) {
  try {
    call();
  } catch (const Error& e) {
    return {int(e.code()), e.what()};
  }
  return {0, ""};
}

inline Failure parse_failure(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return failure_of([&] { parse(text, overrides); });
}

}  // namespace ddp::test
