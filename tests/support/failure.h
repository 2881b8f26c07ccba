// The Error that a call throws, for tests of exit codes and messages.
#pragma once

#include <string>

#include "runtime/base/error.h"

namespace ddp::test {

struct Failure {
  int code;  // the exit code; 0: no Error was thrown
  std::string message;
};

template <class Call>
Failure failure_of(Call call) {
  try {
    call();
  } catch (const Error& e) {
    return {int(e.code()), e.what()};
  }
  return {0, ""};
}

}  // namespace ddp::test
